//! `deliveries list|show|retry|cancel`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::change::{Doing, Order};
use super::events::since;
use super::listing::Listing;
use super::output::{self, Done};
use super::which::{self, Named, Which};
use super::{fates, stores};
use crate::base::id::EventId;
use crate::storage::{Change, DeliveryFilter, DeliveryRow, DeliveryState, Store};

/// Longest reason in a table; `deliveries show` prints all of it.
const LONGEST_REASON: usize = 60;

#[derive(Debug, Subcommand)]
pub(super) enum Deliveries {
    /// List deliveries, those of the newest events first
    List(List),
    /// Show what became of an event for each handler, with every attempt
    Show(Show),
    /// Attempt deliveries again, now: dead ones, and those that wait for another attempt
    Retry(Retry),
    /// Cancel deliveries before their next attempt
    Cancel(Cancel),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only deliveries in this state
    #[arg(long, value_name = "STATE", value_parser = which::one_of(&DeliveryState::ALL))]
    state: Option<DeliveryState>,
    #[command(flatten)]
    narrow: Narrow,
}

#[derive(Debug, Args)]
pub(super) struct Narrow {
    /// Only those for this handler
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    /// Only those of events of this name
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Only those of events of this call or chat
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Only those of events of the company with this slug
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only those of this event; says too which handlers did not want it
    #[arg(long, value_name = "ID")]
    event_id: Option<EventId>,
    /// Only those of events received since then: 2026-11-21T10:00:00Z, or 90m, 2h, 1d ago
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<i64>,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The event's id; `ID:HANDLER` names one delivery
    #[arg(value_name = "EVENT_ID")]
    named: Named,
    /// Only for this handler
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(group = which::narrowed())]
pub(super) struct Retry {
    #[command(flatten)]
    which: Which,
    /// Deliveries in this state, may be repeated; dead and scheduled ones unless it is given
    #[arg(long = "state", value_name = "STATE", value_parser = which::one_of(Change::Retry.states()), group = "which")]
    states: Vec<DeliveryState>,
    #[command(flatten)]
    doing: Doing,
}

#[derive(Debug, Args)]
#[command(group = which::narrowed())]
pub(super) struct Cancel {
    #[command(flatten)]
    which: Which,
    /// Deliveries in this state; pending and scheduled ones unless it is given
    #[arg(long = "state", value_name = "STATE", value_parser = which::one_of(Change::Cancel.states()), group = "which")]
    states: Vec<DeliveryState>,
    #[command(flatten)]
    doing: Doing,
}

impl Deliveries {
    pub(super) async fn run(self) -> Done {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Retry(Retry { which, states, doing }) => {
                let usual = [DeliveryState::Scheduled, DeliveryState::Dead];
                doing.run(order(Change::Retry, &which, &states, &usual)).await
            }
            Self::Cancel(Cancel { which, states, doing }) => {
                doing.run(order(Change::Cancel, &which, &states, Change::Cancel.states())).await
            }
        }
    }
}

fn order(change: Change, which: &Which, states: &[DeliveryState], usual: &[DeliveryState]) -> Order {
    let taken = match states {
        [] if which.is_by_name() || which.has_reason() => change.states(),
        [] => usual,
        given => given,
    };
    Order {
        change,
        filter: which.filter(),
        states: taken.iter().copied().map(Some).collect(),
        tells_others: states.is_empty(),
        at_once: which.is_by_name(),
    }
}

impl List {
    pub(super) fn of(state: Option<DeliveryState>, narrow: Narrow) -> Self {
        Self { state, narrow }
    }

    pub(super) async fn run(self) -> Done {
        let store = stores::open()?;
        let Narrow { handler, event, call, company, event_id, since, listing: Listing { limit, json } } = self.narrow;
        if let (Some(id), None) = (event_id, self.state) {
            return fates::list(&store, id, handler.as_deref(), json).await;
        }
        let filter = DeliveryFilter {
            named: event_id.map(|id| (id, None)).into_iter().collect(),
            handler,
            event,
            call_id: call,
            company,
            since_ms: since,
            states: self.state.map(|state| vec![state]),
            ..DeliveryFilter::default()
        };
        let rows = store.deliveries(filter, limit).await?;
        if json {
            return output::json(&rows.iter().map(describe).collect::<Vec<_>>());
        }
        let rows = rows.iter().map(|row| {
            let about = row.event.as_deref().unwrap_or("-");
            [vec![row.event_id.to_string(), output::plain(about)], cells(row)].concat()
        });
        let header = ["EVENT ID", "EVENT", "HANDLER", "STATE", "ATTEMPTS", "CHANGED (UTC)", "NEXT (UTC)", "REASON"];
        output::table(&header, rows.collect(), "no such deliveries")
    }
}

/// Handler, state, attempts, times and reason.
pub(super) fn cells(row: &DeliveryRow) -> Vec<String> {
    let state = if row.replay { format!("{}, replay", row.state) } else { row.state.to_string() };
    vec![
        output::plain(&row.handler),
        state,
        row.attempts.to_string(),
        output::time(row.updated_ms),
        next(row).unwrap_or_else(|| "-".to_owned()),
        row.note.as_deref().map_or_else(|| "-".to_owned(), short),
    ]
}

/// When the next attempt may be made.
pub(super) fn next(row: &DeliveryRow) -> Option<String> {
    match (row.state, row.due_ms) {
        (DeliveryState::Pending | DeliveryState::Scheduled, Some(due_ms)) => Some(output::time(due_ms)),
        (DeliveryState::Pending, None) => Some("after earlier ones".to_owned()),
        _ => None,
    }
}

fn short(reason: &str) -> String {
    let mut chars = reason.chars();
    let start: String = chars.by_ref().take(LONGEST_REASON).collect();
    output::plain(&if chars.next().is_some() { start + "…" } else { start })
}

pub(super) fn describe(row: &DeliveryRow) -> Value {
    json!({
        "event_id": row.event_id.to_string(),
        "event": row.event,
        "call_id": row.call_id,
        "handler": row.handler,
        "state": row.state,
        "attempts": row.attempts,
        "next_attempt_at_ms": row.due_ms.filter(|_| row.state != DeliveryState::Running),
        "since_ms": row.since_ms,
        "updated_at_ms": row.updated_ms,
        "reason": row.note,
        "replay": row.replay,
    })
}

impl Show {
    async fn run(self) -> Done {
        let store = stores::open()?;
        let handler = self.named.handler.or(self.handler);
        let fates = fates::of(&store, self.named.id, handler.as_deref()).await?;
        if self.json {
            return output::json(&fates.iter().map(fates::describe).collect::<Vec<_>>());
        }
        let none = fates.is_empty().then_some("\nno handler has run on this store yet");
        output::line(format!("event  {}{}", self.named.id, none.unwrap_or_default()))?;
        fates.iter().try_for_each(fates::show)
    }
}
