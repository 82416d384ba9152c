//! `deliveries list|show|stats|rebuild-stats|retry|cancel`, `dead` and `replay`.

mod bulk;
mod dead;
mod outlook;
mod replay;
mod selector;
mod stats;

use std::time::Duration;

use clap::{Args, Subcommand};

use self::bulk::{BulkArgs, BulkOperation};
pub(super) use self::dead::DeadCommand;
pub(super) use self::outlook::print_outlook_table;
pub(super) use self::replay::ReplayArgs;
use self::selector::{DeliveryRef, DeliverySelector};
use self::stats::DeliveriesStatsArgs;
use super::calls::{RebuildStatsArgs, RebuiltItems};
use super::context;
use super::list_args::{CommonListArgs, ListFilterArgs, empty_text};
use super::list_output::ListOutput;
use super::output::{self, CliResult};
use super::progress::draw_progress;
use crate::base::id::EventId;
use crate::operations;
use crate::operations::deliveries::bulk_change::default_states;
use crate::operations::deliveries::{DeliveryList, SearchLimit};
use crate::storage::{DeliveryChange, DeliveryFilter, DeliveryState};
use crate::view::{DeliveryStateView, DeliveryView};

/// Characters of a reason that the table shows; `deliveries show` prints all of it.
const MAX_REASON_CHARS: usize = 60;
/// A list of any filter ends or shows a row within 100 ms, with the start of the program and the last page.
const SEARCH_LIMIT: SearchLimit = SearchLimit::Time(Duration::from_millis(60));

#[derive(Debug, Subcommand)]
pub(super) enum DeliveriesCommand {
    /// List deliveries, newest events first
    List(DeliveriesListArgs),
    /// Show the deliveries of one event, with every attempt
    Show(DeliveriesShowArgs),
    /// Count the attempts, with their durations
    Stats(DeliveriesStatsArgs),
    /// Count all attempts again and correct the totals behind `stats`; also while the receiver runs
    RebuildStats(RebuildStatsArgs),
    /// Attempt dead deliveries, and those scheduled for another attempt, now
    Retry(DeliveriesRetryArgs),
    /// Cancel deliveries before their next attempt
    Cancel(DeliveriesCancelArgs),
}

#[derive(Debug, Args)]
pub(super) struct DeliveriesListArgs {
    /// Only deliveries in this state
    #[arg(long, value_name = "STATE", value_parser = selector::state_parser(&DeliveryState::ALL))]
    state: Option<DeliveryState>,
    #[command(flatten)]
    filter: DeliveryFilterArgs,
}

#[derive(Debug, Args)]
pub(super) struct DeliveryFilterArgs {
    /// Only deliveries for this handler
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    /// Only deliveries of events with this name; may be given several times
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// Only deliveries of events of this call or chat
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Only deliveries of this event; without --state, handlers without a delivery are listed too
    #[arg(long, value_name = "ID")]
    event_id: Option<EventId>,
    #[command(flatten)]
    rows: ListFilterArgs,
    /// Search all events; otherwise the list ends when nothing is found for 60 ms, and says so
    #[arg(long)]
    search_all: bool,
    #[command(flatten)]
    list: CommonListArgs,
}

#[derive(Debug, Args)]
pub(super) struct DeliveriesShowArgs {
    /// Id of the event; `ID:HANDLER` names one delivery
    #[arg(value_name = "EVENT_ID")]
    delivery_ref: DeliveryRef,
    /// Only the delivery for this handler
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(group = selector::selection_group())]
pub(super) struct DeliveriesRetryArgs {
    #[command(flatten)]
    selector: DeliverySelector,
    /// Deliveries in this state; may be given several times [default: dead and scheduled]
    #[arg(long = "state", value_name = "STATE", value_parser = selector::state_parser(DeliveryChange::Retry.allowed_states()), group = "which")]
    states: Vec<DeliveryState>,
    #[command(flatten)]
    bulk: BulkArgs,
}

#[derive(Debug, Args)]
#[command(group = selector::selection_group())]
pub(super) struct DeliveriesCancelArgs {
    #[command(flatten)]
    selector: DeliverySelector,
    /// Deliveries in this state; may be given several times [default: pending and scheduled]
    #[arg(long = "state", value_name = "STATE", value_parser = selector::state_parser(DeliveryChange::Cancel.allowed_states()), group = "which")]
    states: Vec<DeliveryState>,
    #[command(flatten)]
    bulk: BulkArgs,
}

impl DeliveriesCommand {
    pub(super) async fn run(self) -> CliResult {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Stats(stats) => stats.run().await,
            Self::RebuildStats(rebuild) => rebuild.run(RebuiltItems::Attempts).await,
            Self::Retry(DeliveriesRetryArgs { selector, states, bulk }) => {
                bulk.run(bulk_operation(DeliveryChange::Retry, &selector, &states)).await
            }
            Self::Cancel(DeliveriesCancelArgs { selector, states, bulk }) => {
                bulk.run(bulk_operation(DeliveryChange::Cancel, &selector, &states)).await
            }
        }
    }
}

fn bulk_operation(change: DeliveryChange, selector: &DeliverySelector, states: &[DeliveryState]) -> BulkOperation {
    let filter = selector.to_filter();
    let selected_states = match states {
        [] => default_states(change, &filter),
        named => named.iter().copied().map(Some).collect(),
    };
    BulkOperation {
        change,
        filter,
        states: selected_states,
        counts_excluded: states.is_empty(),
        skips_confirmation: selector.selects_by_id(),
    }
}

impl DeliveriesListArgs {
    pub(super) fn new(state: Option<DeliveryState>, filter: DeliveryFilterArgs) -> Self {
        Self { state, filter }
    }

    pub(super) async fn run(self) -> CliResult {
        let store = context::open_store()?;
        let DeliveryFilterArgs { handler, event, call, event_id, rows, search_all, list } = self.filter;
        let CommonListArgs { limit, json } = list;
        // Per event, handlers without a delivery are part of the answer: the outlook says why they have none.
        if let (Some(id), None) = (event_id, self.state) {
            let outlooks =
                operations::deliveries::show_deliveries(&*store, context::PRINCIPAL, id, handler.as_deref()).await?;
            return outlook::print_outlooks(&outlooks, json);
        }
        let filter = DeliveryFilter {
            event_handler_pairs: event_id.map(|id| (id, None)).into_iter().collect(),
            handler,
            event_kinds: event,
            call_id: call,
            since_ms: rows.since_ms(),
            until_ms: rows.until_ms(),
            company: rows.company,
            states: self.state.map(|state| vec![state]),
            ..DeliveryFilter::default()
        };
        let is_dead_list = self.state == Some(DeliveryState::Dead);
        let unfiltered =
            DeliveryFilter { states: filter.states.clone().filter(|_| is_dead_list), ..DeliveryFilter::default() };
        let is_filtered = filter != unfiltered;
        let (items, nothing) = if is_dead_list {
            ("dead letters", "no dead letters are stored")
        } else {
            ("deliveries", "no deliveries are stored; they follow the first event")
        };
        let search_limit = if search_all { SearchLimit::Unlimited } else { SEARCH_LIMIT };
        let mut list = DeliveryList::new(context::PRINCIPAL, filter, limit, search_limit);
        let mut output = if json { ListOutput::json() } else { ListOutput::table(&TABLE_HEADER) };
        let mut progress = draw_progress();
        while let Some(page) = list.next_page(&*store, &mut progress).await? {
            if !page.is_empty() {
                // Removes the progress from the terminal before rows are printed to it.
                progress = draw_progress();
                output.print_rows(&page, table_row)?;
            }
        }
        drop(progress);
        let Some(unsearched) = list.unsearched_events() else {
            return output.finish(&empty_text(items, is_filtered, nothing));
        };
        output.finish(&format!("no {items} that match these options were found so far"))?;
        output::print_error(format!(
            "retell-webhook: the search ended early: about {unsearched} older events were not searched; add --search-all to \
             search them"
        ));
        Ok(())
    }
}

const TABLE_HEADER: [&str; 8] = ["EVENT ID", "EVENT", "HANDLER", "STATE", "ATTEMPTS", "CHANGED", "NEXT", "REASON"];

fn table_row(row: &DeliveryView) -> Vec<String> {
    let kind = row.event.as_deref().unwrap_or("-");
    [vec![row.event_id.clone(), kind.to_owned()], delivery_cells(row)].concat()
}

/// The cells that all tables of deliveries share: handler, state, attempts, times and reason.
pub(super) fn delivery_cells(row: &DeliveryView) -> Vec<String> {
    let state = if row.replay { format!("{}, replay", row.state.as_str()) } else { row.state.as_str().to_owned() };
    vec![
        row.handler.clone(),
        state,
        row.attempts.to_string(),
        output::format_time(row.updated_at_ms),
        next_attempt_text(row).unwrap_or_else(|| "-".to_owned()),
        row.reason.as_deref().map_or_else(|| "-".to_owned(), truncate_reason),
    ]
}

/// The earliest time of the next attempt; `None` when no attempt will follow, or while one runs.
pub(super) fn next_attempt_text(row: &DeliveryView) -> Option<String> {
    match (row.state, row.next_attempt_at_ms) {
        (DeliveryStateView::Pending | DeliveryStateView::Scheduled, Some(due_ms)) => Some(output::format_time(due_ms)),
        // Not due: an earlier delivery of the same call sequence has to finish first.
        (DeliveryStateView::Pending, None) => Some("after earlier events".to_owned()),
        _ => None,
    }
}

fn truncate_reason(reason: &str) -> String {
    let mut chars = reason.chars();
    let start: String = chars.by_ref().take(MAX_REASON_CHARS).collect();
    if chars.next().is_some() { start + "…" } else { start }
}

impl DeliveriesShowArgs {
    async fn run(self) -> CliResult {
        let store = context::open_store()?;
        let handler = self.delivery_ref.handler.or(self.handler);
        let outlooks = operations::deliveries::show_deliveries(
            &*store,
            context::PRINCIPAL,
            self.delivery_ref.id,
            handler.as_deref(),
        )
        .await?;
        if self.json {
            return output::print_json(&outlooks);
        }
        output::print_line(format!("event  {}", self.delivery_ref.id))?;
        if outlooks.is_empty() {
            output::print_line("no handler has run on this store yet")?;
        }
        outlooks.iter().try_for_each(outlook::print_outlook)
    }
}
