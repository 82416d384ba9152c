//! `purge`: applies the retention rules now; a running receiver does so once per hour.

use clap::Args;

use super::context;
use super::output::{self, CliResult};
use super::progress::draw_progress;
use crate::base::clock::Clock;
use crate::operations::purge::purge;
use crate::storage::Role;
use crate::view::PurgeView;

#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
    /// Only count the rows, which is also what happens without --yes
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Delete the rows instead of counting them
    #[arg(long)]
    yes: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl PurgeArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let store = context::open_store_of(&settings, Role::Operator)?;
        let result =
            purge(&*store, &settings, &Clock::system(), context::PRINCIPAL, !self.yes, &mut draw_progress()).await?;
        if self.json { output::print_json(&result) } else { print_text(&result) }
    }
}

fn print_text(result: &PurgeView) -> CliResult {
    if result.by_age.is_empty() && result.max_bytes.is_none() {
        return output::print_line("nothing is deleted: no key of [retention] is set");
    }
    let rows = result.by_age.iter().map(|purged| {
        vec![purged.kind.to_owned(), purged.companies.clone(), format!("{} days", purged.days), purged.rows.to_string()]
    });
    let removed = if result.dry_run { "TO DELETE" } else { "DELETED" };
    output::print_table(&["KIND", "COMPANIES", "OLDER THAN", removed], rows.collect(), "no age limit is set")?;
    if result.by_size > 0 {
        output::print_line(format!("plus the {} oldest events, for retention.max_bytes", result.by_size))?;
    }
    let limit = result.max_bytes.map(|bytes| format!(" of {}", output::format_bytes(bytes))).unwrap_or_default();
    output::print_line(format!("the store uses {}{limit}", output::format_bytes(result.used_bytes)))?;
    if result.dry_run { output::print_line("nothing was deleted; `purge --yes` deletes it") } else { Ok(()) }
}
