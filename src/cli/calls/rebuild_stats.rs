use clap::Args;

use super::super::context;
use super::super::output::{self, CliResult};
use super::super::progress::draw_progress;
use crate::operations::conversations::rebuild_stats;
use crate::operations::deliveries::rebuild_attempt_stats;
use crate::operations::functions::rebuild_invocation_stats;
use crate::storage::Role;

#[derive(Debug, Args)]
pub(in crate::cli) struct RebuildStatsArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// The rows whose statistics are rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum RebuiltItems {
    CallsAndChats,
    Attempts,
    Invocations,
}

impl RebuildStatsArgs {
    pub(in crate::cli) async fn run(self, items: RebuiltItems) -> CliResult {
        let settings = context::load_settings()?;
        let store = context::open_store_of(&settings, Role::Operator)?;
        let mut progress = draw_progress();
        let (rebuilt, noun) = match items {
            RebuiltItems::CallsAndChats => {
                (rebuild_stats(&*store, context::PRINCIPAL, &mut progress).await?, "calls and chats")
            }
            RebuiltItems::Attempts => {
                (rebuild_attempt_stats(&*store, context::PRINCIPAL, &mut progress).await?, "attempts")
            }
            RebuiltItems::Invocations => {
                (rebuild_invocation_stats(&*store, context::PRINCIPAL, &mut progress).await?, "invocations")
            }
        };
        drop(progress);
        if self.json {
            return output::print_json(&rebuilt);
        }
        let corrected = match rebuilt.corrected_totals {
            0 => "all totals were correct".to_owned(),
            1 => "1 total was corrected".to_owned(),
            totals => format!("{totals} totals were corrected"),
        };
        output::print_line(format!("{} {noun} counted, {corrected}", rebuilt.counted))
    }
}
