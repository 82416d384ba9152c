//! Deliveries changed beside a running receiver: counted first, then changed in small batches with pauses between them.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::output::{self, Done, Failure};
use super::stores;
use crate::base::clock::Clock;
use crate::storage::sqlite::Beside;
use crate::storage::{Change, Counted, DeliveryFilter, DeliveryState};

/// Deliveries changed at once: some 10 ms during which the receiver's commits wait.
const BATCH: u32 = 200;
/// Batches a second.
const BEATS: u32 = 5;

#[derive(Debug, Args)]
pub(super) struct Doing {
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
pub(super) struct Order {
    pub(super) change: Change,
    pub(super) filter: DeliveryFilter,
    /// States in which they are taken; `None` stands for events without a delivery.
    pub(super) states: Vec<Option<DeliveryState>>,
    /// Whether the others are counted too, to say why they are left out.
    pub(super) tells_others: bool,
    /// Deliveries that are named one by one are changed without being asked for twice.
    pub(super) at_once: bool,
}

impl Order {
    fn takes(&self, counted: &Counted) -> bool {
        self.states.contains(&counted.state)
    }

    fn chosen(&self) -> DeliveryFilter {
        let states = self.states.iter().copied().flatten().collect();
        DeliveryFilter { states: Some(states), without: self.states.contains(&None), ..self.filter.clone() }
    }

    fn counted(&self) -> DeliveryFilter {
        if self.tells_others { self.filter.clone() } else { self.chosen() }
    }

    /// Why these are not changed.
    fn left_out(&self, counted: &Counted) -> Option<&'static str> {
        if self.takes(counted) {
            return None;
        }
        let begins_anew = matches!(self.change, Change::Replay | Change::Retry);
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

impl Doing {
    pub(super) async fn run(self, order: Order) -> Done {
        let mut beside = Beside::open(&stores::sqlite_url()?)?;
        let counts = beside.count(&order.counted())?;
        let selected: u64 = counts.iter().filter(|counted| order.takes(counted)).map(|counted| counted.count).sum();
        let selected = selected.min(self.limit.unwrap_or(u64::MAX));
        let is_dry = self.dry_run || !(self.yes || order.at_once);
        let asks_first = is_dry || selected == 0;
        if asks_first && !self.json {
            table(&order, &counts)?;
        }
        let changed = if asks_first { 0 } else { self.change(&mut beside, &order, selected).await? };
        if self.json {
            print(&order, &counts, (is_dry, selected, changed))?;
        }
        let word = word(order.change);
        match (selected, is_dry, self.json) {
            (0, _, _) => {
                Err(Failure::Because("there is no such delivery; `deliveries list` shows those there are".into()))
            }
            (_, _, true) => Ok(()),
            (_, true, _) => output::line(format!("\nNothing was changed. With --yes: {selected} {word}")),
            (_, false, _) => told(&order, (selected, changed)),
        }
    }

    async fn change(&self, beside: &mut Beside, order: &Order, selected: u64) -> Result<u64, Failure> {
        let mut walk = beside.walk(&order.chosen())?;
        let progress = progress(selected);
        let batch = (self.rate / BEATS).clamp(1, BATCH);
        let each = Duration::from_secs(1) / self.rate;
        let (mut changed, mut left) = (0, self.limit.unwrap_or(u64::MAX));
        while left > 0 {
            let began = Instant::now();
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(batch as usize);
            let Some(chosen) = beside.next(&mut walk, size)? else { break };
            let done = beside.change(&chosen, order.change, Clock::system().now_ms()).map_err(|error| {
                Failure::Because(format!("stopped after {changed} {}: {error}", word(order.change)))
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

fn told(order: &Order, (selected, changed): (u64, u64)) -> Done {
    output::line(format!("{changed} {}", word(order.change)))?;
    if changed < selected {
        output::line(format!("{} changed meanwhile and were left alone", selected - changed))?;
    }
    Ok(())
}

fn print(order: &Order, counts: &[Counted], (is_dry, selected, changed): (bool, u64, u64)) -> Done {
    let counts = counts.iter().map(|counted| {
        let mut row = json!(counted);
        row["left_out"] = json!(order.left_out(counted));
        row
    });
    output::json(&json!({
        "dry_run": is_dry,
        "selected": selected,
        "changed": changed,
        "counts": counts.collect::<Vec<_>>(),
    }))
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Replay => "replayed",
        Change::Retry => "retried",
        Change::Cancel => "cancelled",
        Change::Discard => "discarded",
    }
}

fn table(order: &Order, counts: &[Counted]) -> Done {
    if counts.is_empty() {
        return Ok(());
    }
    let rows = counts.iter().map(|counted| {
        vec![
            output::plain(&counted.handler),
            counted.state.map_or("none", DeliveryState::as_str).to_owned(),
            output::plain(counted.reason.as_deref().unwrap_or("-")),
            counted.count.to_string(),
            order.left_out(counted).map_or_else(|| "selected".to_owned(), |why| format!("left out: {why}")),
        ]
    });
    output::table(&["HANDLER", "STATE", "REASON", "DELIVERIES", ""], rows.collect(), "")
}

/// On stderr, when somebody is looking.
fn progress(selected: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left");
    ProgressBar::new(selected).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
