//! The arguments and the output of changes to many deliveries.

use clap::Args;

use super::selector;
use crate::base::clock::Clock;
use crate::cli::context;
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::progress::draw_progress;
use crate::operations::OperationError;
use crate::operations::deliveries::bulk_change::{self, BulkChange};
use crate::storage::{DeliveryChange, DeliveryFilter, DeliveryState, Role};
use crate::view::{BulkChangeView, DeliveryCountView, DeliveryStateView};

#[derive(Debug, Args)]
pub(super) struct BulkArgs {
    /// Change at most N deliveries, oldest events first
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Make the change; without it the deliveries are only counted
    #[arg(long)]
    yes: bool,
    /// Only count the deliveries, which is also what happens without --yes
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Change at most N deliveries per second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// A change and the deliveries it applies to; see [`BulkChange`].
pub(super) struct BulkOperation {
    pub(super) change: DeliveryChange,
    pub(super) filter: DeliveryFilter,
    pub(super) states: Vec<Option<DeliveryState>>,
    pub(super) counts_excluded: bool,
    /// Deliveries named by id are changed without `--yes`.
    pub(super) skips_confirmation: bool,
}

impl BulkArgs {
    pub(super) async fn run(self, operation: BulkOperation) -> CliResult {
        let store = context::open_store_as(Role::Operator)?;
        let BulkOperation { change, filter, states, counts_excluded, skips_confirmation } = operation;
        let dry_run = self.dry_run || !(self.yes || skips_confirmation);
        let bulk = BulkChange { change, filter, states, counts_excluded, dry_run, limit: self.limit, rate: self.rate };
        let mut progress = draw_progress();
        let clock = Clock::system();
        let result = bulk_change::change_deliveries(&*store, &clock, context::PRINCIPAL, &bulk, &mut progress).await;
        drop(progress);
        if matches!(result, Err(OperationError::HandlerNotNamed)) {
            selector::exit_with_usage_error(
                "--state none needs --handler NAME: it creates a delivery for every event that has none",
            );
        }
        let result = result?;
        if self.json {
            output::print_json(&result)?;
        } else if result.dry_run || result.selected == 0 {
            print_counts(&result.counts)?;
        }
        if result.selected == 0 {
            return Err(CliError::Message(
                "no delivery matches; `retell-webhook deliveries list` prints the deliveries there are".into(),
            ));
        }
        if self.json { Ok(()) } else { print_result(change, &result) }
    }
}

fn print_result(change: DeliveryChange, result: &BulkChangeView) -> CliResult {
    let BulkChangeView { dry_run, selected, changed, .. } = *result;
    let done = bulk_change::past_participle(change);
    if dry_run {
        return output::print_line(format!("\nNothing was changed. With --yes: {selected} {done}"));
    }
    output::print_line(format!("{changed} {done}"))?;
    if changed < selected {
        let skipped = selected - changed;
        output::print_line(format!("{skipped} were not changed: their state changed in the meantime"))?;
    }
    Ok(())
}

fn print_counts(counts: &[DeliveryCountView]) -> CliResult {
    if counts.is_empty() {
        return Ok(());
    }
    let rows = counts.iter().map(|counted| {
        vec![
            counted.handler.clone(),
            counted.state.map_or("none", DeliveryStateView::as_str).to_owned(),
            counted.reason.clone().unwrap_or_else(|| "-".to_owned()),
            counted.count.to_string(),
            match counted.excluded_reason {
                Some(reason) => format!("excluded: {reason}"),
                None => "selected".to_owned(),
            },
        ]
    });
    output::print_table(&["HANDLER", "STATE", "REASON", "DELIVERIES", ""], rows.collect(), "")
}
