//! Changes to many deliveries while a receiver may be running on the same store: first counted, then applied in small
//! batches with pauses between them, so that the receiver's own commits do not wait.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::context;
use super::output::{self, CliError, CliResult};
use crate::base::clock::Clock;
use crate::storage::{DeliveryAdmin, DeliveryChange, DeliveryCount, DeliveryFilter, DeliveryState, Role};

/// Deliveries per transaction: about 10 ms, during which the receiver cannot commit.
const MAX_BATCH_SIZE: u32 = 200;
/// At low rates the batches get smaller instead of rarer, so that progress stays visible.
const BATCHES_PER_SECOND: u32 = 5;

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

/// A change and the deliveries it applies to.
pub(super) struct BulkOperation {
    pub(super) change: DeliveryChange,
    pub(super) filter: DeliveryFilter,
    /// Only deliveries in these states are changed; `None` stands for events without a delivery.
    pub(super) states: Vec<Option<DeliveryState>>,
    /// Whether deliveries in other states are counted too, with the reason why they are excluded.
    pub(super) counts_excluded: bool,
    /// Deliveries named by id are changed without `--yes`.
    pub(super) skips_confirmation: bool,
}

impl BulkOperation {
    fn includes(&self, counted: &DeliveryCount) -> bool {
        self.states.contains(&counted.state)
    }

    fn selection_filter(&self) -> DeliveryFilter {
        let states = self.states.iter().copied().flatten().collect();
        DeliveryFilter { states: Some(states), include_undelivered: self.states.contains(&None), ..self.filter.clone() }
    }

    fn count_filter(&self) -> DeliveryFilter {
        if self.counts_excluded { self.filter.clone() } else { self.selection_filter() }
    }

    fn exclusion_reason(&self, counted: &DeliveryCount) -> Option<&'static str> {
        if self.includes(counted) {
            return None;
        }
        let attempts_again = matches!(self.change, DeliveryChange::Replay | DeliveryChange::Retry);
        Some(match counted.state {
            None => "not wanted by the handler, or received before it: select them with --state none",
            Some(DeliveryState::Running) => "an attempt is running",
            Some(DeliveryState::Pending) => "waiting for the first attempt",
            Some(DeliveryState::Scheduled) => "waiting for another attempt: select them with --state scheduled",
            Some(DeliveryState::Skipped) if attempts_again => "skipped: select them with --state skipped",
            Some(DeliveryState::Skipped | DeliveryState::Succeeded) => "finished",
            Some(DeliveryState::Dead) => "dead letters: use the command `dead`",
        })
    }
}

/// How many deliveries a bulk operation selected and changed.
struct BulkResult {
    is_dry_run: bool,
    selected: u64,
    changed: u64,
}

impl BulkArgs {
    pub(super) async fn run(self, operation: BulkOperation) -> CliResult {
        let store = context::open_store_as(Role::Operator)?;
        let counts = store.count_deliveries(operation.count_filter()).await?;
        let matching: u64 =
            counts.iter().filter(|counted| operation.includes(counted)).map(|counted| counted.count).sum();
        let selected = matching.min(self.limit.unwrap_or(u64::MAX));
        let is_dry_run = self.dry_run || !(self.yes || operation.skips_confirmation);
        let only_counts = is_dry_run || selected == 0;
        if only_counts && !self.json {
            print_counts(&operation, &counts)?;
        }
        let changed = if only_counts { 0 } else { self.apply(&*store, &operation, selected).await? };
        let result = BulkResult { is_dry_run, selected, changed };
        if self.json {
            print_json_report(&operation, &counts, &result)?;
        }
        if selected == 0 {
            return Err(CliError::Message(
                "no delivery matches; `retell-webhook deliveries list` prints the deliveries there are".into(),
            ));
        }
        if self.json { Ok(()) } else { print_result(&operation, &result) }
    }

    async fn apply(
        &self,
        store: &dyn DeliveryAdmin,
        operation: &BulkOperation,
        selected: u64,
    ) -> Result<u64, CliError> {
        let mut selection = store.select_deliveries(operation.selection_filter()).await?;
        let progress = bulk_progress_bar(selected);
        let batch_size = (self.rate / BATCHES_PER_SECOND).clamp(1, MAX_BATCH_SIZE);
        let time_per_delivery = Duration::from_secs(1) / self.rate;
        let mut changed = 0;
        let mut remaining = self.limit.unwrap_or(u64::MAX);
        while remaining > 0 {
            let started = Instant::now();
            let size = usize::try_from(remaining).unwrap_or(usize::MAX).min(batch_size as usize);
            let step = selection.change_next(operation.change, size, Clock::system().now_ms()).await;
            let step = step.map_err(|error| {
                let done = past_participle(operation.change);
                CliError::Message(format!("stopped after {changed} deliveries were {done}: {error}"))
            })?;
            let Some(batch) = step else { break };
            // The receiver may have claimed or finished some of the batch since it was selected: those are not changed,
            // and only what was changed counts against the limit.
            changed += batch.changed;
            remaining -= batch.changed.min(remaining);
            progress.inc(batch.visited);
            let deliveries = u32::try_from(batch.visited).unwrap_or(batch_size);
            sleep_until(started + time_per_delivery * deliveries).await;
        }
        progress.finish_and_clear();
        Ok(changed)
    }
}

fn print_result(operation: &BulkOperation, result: &BulkResult) -> CliResult {
    let BulkResult { is_dry_run, selected, changed } = *result;
    let done = past_participle(operation.change);
    if is_dry_run {
        return output::print_line(format!("\nNothing was changed. With --yes: {selected} {done}"));
    }
    output::print_line(format!("{changed} {done}"))?;
    if changed < selected {
        let skipped = selected - changed;
        output::print_line(format!("{skipped} were not changed: their state changed in the meantime"))?;
    }
    Ok(())
}

fn print_json_report(operation: &BulkOperation, counts: &[DeliveryCount], result: &BulkResult) -> CliResult {
    let counts = counts.iter().map(|counted| {
        let mut row = json!(counted);
        row["excluded_reason"] = json!(operation.exclusion_reason(counted));
        row
    });
    output::print_json(&json!({
        "dry_run": result.is_dry_run,
        "selected": result.selected,
        "changed": result.changed,
        "counts": counts.collect::<Vec<_>>(),
    }))
}

fn past_participle(change: DeliveryChange) -> &'static str {
    match change {
        DeliveryChange::Replay => "replayed",
        DeliveryChange::Retry => "retried",
        DeliveryChange::Cancel => "cancelled",
        DeliveryChange::Discard => "discarded",
    }
}

fn print_counts(operation: &BulkOperation, counts: &[DeliveryCount]) -> CliResult {
    if counts.is_empty() {
        return Ok(());
    }
    let rows = counts.iter().map(|counted| {
        vec![
            output::sanitize(&counted.handler),
            counted.state.map_or("none", DeliveryState::as_str).to_owned(),
            output::sanitize(counted.reason.as_deref().unwrap_or("-")),
            counted.count.to_string(),
            match operation.exclusion_reason(counted) {
                Some(reason) => format!("excluded: {reason}"),
                None => "selected".to_owned(),
            },
        ]
    });
    output::print_table(&["HANDLER", "STATE", "REASON", "DELIVERIES", ""], rows.collect(), "")
}

/// On stderr, and only when that is a terminal.
fn bulk_progress_bar(selected: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left");
    ProgressBar::new(selected).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
