use clap::Args;

use super::super::context;
use super::super::output::{self, CliResult};
use super::super::progress::draw_progress;
use crate::operations::conversations::rebuild_stats;
use crate::storage::Role;

#[derive(Debug, Args)]
pub(in crate::cli) struct CallsRebuildStatsArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl CallsRebuildStatsArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let store = context::open_store_of(&settings, Role::Operator)?;
        let mut progress = draw_progress();
        let rebuilt = rebuild_stats(&*store, context::PRINCIPAL, &mut progress).await?;
        drop(progress);
        if self.json {
            return output::print_json(&rebuilt);
        }
        let corrected = match rebuilt.corrected_totals {
            0 => "all totals were correct".to_owned(),
            1 => "1 total was corrected".to_owned(),
            totals => format!("{totals} totals were corrected"),
        };
        output::print_line(format!("{} calls and chats counted, {corrected}", rebuilt.counted))
    }
}
