//! Deliveries changed beside a running receiver: counted first, then changed in small batches with pauses between them.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::context;
use super::output::{self, CliError, CliResult};
use crate::base::clock::Clock;
use crate::storage::sqlite::OperatorStore;
use crate::storage::{DeliveryChange, DeliveryCount, DeliveryFilter, DeliveryState};

/// Deliveries changed at once: some 10 ms during which the receiver's commits wait.
const MAX_BATCH_SIZE: u32 = 200;
/// Batches a second.
const BATCHES_PER_SECOND: u32 = 5;

#[derive(Debug, Args)]
pub(super) struct BulkArgs {
    /// At most so many, those of the oldest events first
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Do it; without, the deliveries are counted and nothing is changed
    #[arg(long)]
    yes: bool,
    /// Count the deliveries and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Deliveries a second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is to be done with what.
pub(super) struct BulkOperation {
    pub(super) change: DeliveryChange,
    pub(super) filter: DeliveryFilter,
    /// States in which they are taken; `None` stands for events without a delivery.
    pub(super) states: Vec<Option<DeliveryState>>,
    /// Whether the others are counted too, to say why they are left out.
    pub(super) counts_excluded: bool,
    /// Deliveries that are named one by one are changed without being asked for twice.
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

    /// Why these are not changed.
    fn exclusion_reason(&self, counted: &DeliveryCount) -> Option<&'static str> {
        if self.includes(counted) {
            return None;
        }
        let begins_anew = matches!(self.change, DeliveryChange::Replay | DeliveryChange::Retry);
        Some(match counted.state {
            None => "not wanted, or before its time: --state none makes deliveries of them",
            Some(DeliveryState::Running) => "an attempt is under way",
            Some(DeliveryState::Pending) => "wait for their first attempt",
            Some(DeliveryState::Scheduled) => "wait for another attempt: --state scheduled",
            Some(DeliveryState::Skipped) if begins_anew => "--state skipped takes them too",
            Some(DeliveryState::Skipped | DeliveryState::Succeeded) => "done already",
            Some(DeliveryState::Dead) => "dead letters: see `dead`",
        })
    }
}

impl BulkArgs {
    pub(super) async fn run(self, order: BulkOperation) -> CliResult {
        let mut beside = OperatorStore::open(&context::sqlite_url()?)?;
        let counts = beside.count_deliveries(&order.count_filter())?;
        let selected: u64 = counts.iter().filter(|counted| order.includes(counted)).map(|counted| counted.count).sum();
        let selected = selected.min(self.limit.unwrap_or(u64::MAX));
        let is_dry = self.dry_run || !(self.yes || order.skips_confirmation);
        let asks_first = is_dry || selected == 0;
        if asks_first && !self.json {
            print_counts(&order, &counts)?;
        }
        let changed = if asks_first { 0 } else { self.apply(&mut beside, &order, selected).await? };
        if self.json {
            print_json_report(&order, &counts, (is_dry, selected, changed))?;
        }
        let word = past_participle(order.change);
        match (selected, is_dry, self.json) {
            (0, _, _) => {
                Err(CliError::Message("there is no such delivery; `deliveries list` shows those there are".into()))
            }
            (_, _, true) => Ok(()),
            (_, true, _) => output::print_line(format!("\nNothing was changed. With --yes: {selected} {word}")),
            (_, false, _) => print_result(&order, (selected, changed)),
        }
    }

    async fn apply(&self, beside: &mut OperatorStore, order: &BulkOperation, selected: u64) -> Result<u64, CliError> {
        let mut walk = beside.select_deliveries(&order.selection_filter())?;
        let progress = bulk_progress_bar(selected);
        let batch = (self.rate / BATCHES_PER_SECOND).clamp(1, MAX_BATCH_SIZE);
        let each = Duration::from_secs(1) / self.rate;
        let (mut changed, mut left) = (0, self.limit.unwrap_or(u64::MAX));
        while left > 0 {
            let began = Instant::now();
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(batch as usize);
            let Some(chosen) = beside.next_batch(&mut walk, size)? else { break };
            let done = beside.change_deliveries(&chosen, order.change, Clock::system().now_ms()).map_err(|error| {
                CliError::Message(format!("stopped after {changed} {}: {error}", past_participle(order.change)))
            })?;
            changed += done;
            left -= done.min(left);
            progress.inc(chosen.seqs.len() as u64);
            sleep_until(began + each * u32::try_from(chosen.seqs.len()).unwrap_or(batch)).await;
        }
        progress.finish_and_clear();
        Ok(changed)
    }
}

fn print_result(order: &BulkOperation, (selected, changed): (u64, u64)) -> CliResult {
    output::print_line(format!("{changed} {}", past_participle(order.change)))?;
    if changed < selected {
        output::print_line(format!("{} changed meanwhile and were left alone", selected - changed))?;
    }
    Ok(())
}

fn print_json_report(
    order: &BulkOperation,
    counts: &[DeliveryCount],
    (is_dry, selected, changed): (bool, u64, u64),
) -> CliResult {
    let counts = counts.iter().map(|counted| {
        let mut row = json!(counted);
        row["left_out"] = json!(order.exclusion_reason(counted));
        row
    });
    output::print_json(&json!({
        "dry_run": is_dry,
        "selected": selected,
        "changed": changed,
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

fn print_counts(order: &BulkOperation, counts: &[DeliveryCount]) -> CliResult {
    if counts.is_empty() {
        return Ok(());
    }
    let rows = counts.iter().map(|counted| {
        vec![
            output::sanitize(&counted.handler),
            counted.state.map_or("none", DeliveryState::as_str).to_owned(),
            output::sanitize(counted.reason.as_deref().unwrap_or("-")),
            counted.count.to_string(),
            order.exclusion_reason(counted).map_or_else(|| "selected".to_owned(), |why| format!("left out: {why}")),
        ]
    });
    output::print_table(&["HANDLER", "STATE", "REASON", "DELIVERIES", ""], rows.collect(), "")
}

/// On stderr, when somebody is looking.
fn bulk_progress_bar(selected: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left");
    ProgressBar::new(selected).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
