//! `events list|show|export|import` and `tail`.

mod export;
mod import;
mod tail;
mod tail_format;

use clap::{Args, Subcommand};

use self::import::EventsImportArgs;
pub(super) use self::tail::TailArgs;
use super::context;
use super::deliveries::print_outlook_table;
use super::list_args::{ListFilterArgs, empty_text};
use super::output::{self, CliError, CliResult};
use crate::base::id::EventId;
use crate::operations;
use crate::storage::EventFilter;
use crate::view::{EventDetailsView, EventView, StoredInboundAnswerView};

#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// List stored events, newest first
    List(EventsListArgs),
    /// Show one event and its deliveries
    Show(EventsShowArgs),
    /// Print stored events with their bodies, oldest first, one JSON object per line
    Export(EventFilterArgs),
    /// Store events that `events export` printed; no receiver may be running on this store
    Import(EventsImportArgs),
}

#[derive(Debug, Args)]
pub(super) struct EventFilterArgs {
    /// Only events with this name; may be given several times
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// Only events of this call or chat
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Only events whose body is not a JSON object
    #[arg(long)]
    unparsed: bool,
    #[command(flatten)]
    filter: ListFilterArgs,
    /// Print at most N events [default: 50 for `list`, no limit for `export`]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(super) struct EventsListArgs {
    #[command(flatten)]
    filter: EventFilterArgs,
    /// Print one JSON array instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct EventsShowArgs {
    /// Id of the event, as `events list` prints it
    id: EventId,
    /// Print only the raw body, which contains what the caller said
    #[arg(long, conflicts_with = "json")]
    body: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl EventsCommand {
    pub(super) async fn run(self) -> CliResult {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Export(filter) => export::export_events(filter.into_filter()).await,
            Self::Import(import) => import.run().await,
        }
    }
}

impl EventFilterArgs {
    /// Whether events are left out for another reason than the limit.
    fn is_filtered(&self) -> bool {
        !self.event.is_empty() || self.call.is_some() || self.unparsed || self.filter.is_set()
    }

    fn into_filter(self) -> EventFilter {
        EventFilter {
            kinds: self.event,
            call_id: self.call,
            since_ms: self.filter.since_ms(),
            until_ms: self.filter.until_ms(),
            company: self.filter.company,
            unparsed_only: self.unparsed,
            limit: self.limit,
        }
    }
}

impl EventsListArgs {
    async fn run(self) -> CliResult {
        let store = context::open_store()?;
        let is_filtered = self.filter.is_filtered();
        let mut filter = self.filter.into_filter();
        filter.limit.get_or_insert(50);
        let events = operations::events::list_events(&*store, context::PRINCIPAL, filter).await?;
        if self.json {
            return output::print_json(&events);
        }
        let rows = events.iter().map(|event| {
            vec![
                output::format_time(event.received_at_ms),
                event.id.clone(),
                event.event.clone().unwrap_or_else(|| "-".to_owned()),
                event.call_id.clone().unwrap_or_else(|| "-".to_owned()),
                output::format_bytes(event.size_bytes),
                state_text(event),
            ]
        });
        let header = ["RECEIVED", "ID", "EVENT", "CALL OR CHAT", "SIZE", "STATE"];
        let nothing = "no events are stored; send one with: retell-webhook send call_ended";
        output::print_table(&header, rows.collect(), &empty_text("events", is_filtered, nothing))
    }
}

/// `stored` or `unparsed`, whether the event is a revision, and the number of duplicates.
fn state_text(event: &EventView) -> String {
    let mut state = event.state.as_str().to_owned();
    if event.revision_of.is_some() {
        state.push_str(", revision");
    }
    match event.duplicates {
        0 => state,
        1 => state + ", +1 duplicate",
        more => format!("{state}, +{more} duplicates"),
    }
}

/// `` answered, rule `night`, after 3 ms ``.
fn inbound_answer_text(answered: &StoredInboundAnswerView) -> String {
    let rule = answered.rule.as_ref().map(|rule| format!(", rule `{rule}`")).unwrap_or_default();
    format!("{}{rule}, after {} ms", answered.outcome.as_str(), answered.duration_ms)
}

impl EventsShowArgs {
    async fn run(self) -> CliResult {
        let store = context::open_store()?;
        if self.body {
            let body = operations::events::event_body(&*store, context::PRINCIPAL, self.id).await?;
            return output::print_body(&body);
        }
        let details = operations::events::show_event(&*store, context::PRINCIPAL, self.id).await?;
        // The event is shown all the same, but a script notices that its body is lost.
        let result = if details.body_error.is_some() { Err(CliError::AlreadyPrinted) } else { Ok(()) };
        if self.json {
            output::print_json(&details)?;
        } else {
            Self::print_text(details)?;
        }
        result
    }

    fn print_text(details: EventDetailsView) -> CliResult {
        let EventDetailsView { event: summary, inbound_answer: answered, body_error, deliveries, wanted } = details;
        output::print_fields(&[
            ("id", Some(summary.id.clone())),
            ("company", Some(summary.company.clone())),
            ("event", summary.event.clone()),
            ("call or chat", summary.call_id.clone()),
            ("agent", summary.agent_id.clone()),
            ("received", Some(output::format_time(summary.received_at_ms))),
            ("from", summary.source.clone()),
            ("content type", summary.content_type.clone()),
            ("query", summary.query.clone()),
            ("signed by key", summary.key_fingerprint.clone()),
            ("origin", Some(summary.origin.as_str().to_owned())),
            ("state", Some(state_text(&summary))),
            ("revision of", summary.revision_of.clone()),
            ("size", Some(output::format_bytes(summary.size_bytes))),
            ("body error", body_error),
            ("answered", answered.as_ref().map(inbound_answer_text)),
            ("answer", answered.and_then(|answered| answered.answer).map(|answer| answer.get().to_owned())),
        ])?;
        output::print_line("")?;
        print_outlook_table(&deliveries)?;
        if wanted == Some(false) {
            output::print_line("no handler wanted this event")?;
        }
        output::print_line("\nTo print the body, which contains what the caller said: --body")
    }
}
