//! `events list|show|export`; see [`super::import`] for `events import`.

use std::io::{self, BufWriter, IsTerminal, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::import::EventsImportArgs;
use super::output::{self, CliError, CliResult};
use super::{context, outlook};
use crate::base::clock::Clock;
use crate::base::id::EventId;
use crate::operations;
use crate::storage::{EventFilter, EventSummary, Store};
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
    /// Only events with this name
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Only events of this call or chat
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// Only events whose body is not a JSON object
    #[arg(long)]
    unparsed: bool,
    /// Only events received since this time: 2026-11-21T10:00:00Z, 2026-11-21, or 90m, 2h, 1d ago
    #[arg(long, value_name = "TIME", value_parser = parse_time_arg)]
    since: Option<i64>,
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

pub(super) fn parse_time_arg(text: &str) -> Result<i64, String> {
    output::parse_time(text, Clock::system().now_ms())
}

impl EventsCommand {
    pub(super) async fn run(self) -> CliResult {
        match self {
            Self::List(list) => list.run(&*context::open_store()?).await,
            Self::Show(show) => show.run(&*context::open_store()?).await,
            Self::Export(filter) => export_events(filter.into_filter(), &*context::open_store()?).await,
            Self::Import(import) => import.run().await,
        }
    }
}

impl EventFilterArgs {
    fn into_filter(self) -> EventFilter {
        EventFilter {
            kind: self.event,
            call_id: self.call,
            company: None,
            unparsed_only: self.unparsed,
            since_ms: self.since,
            limit: self.limit,
        }
    }
}

impl EventsListArgs {
    async fn run(self, store: &dyn Store) -> CliResult {
        let mut filter = self.filter.into_filter();
        filter.limit.get_or_insert(50);
        let events = operations::events::list_events(store, filter).await?;
        if self.json {
            return output::print_json(&events);
        }
        let rows = events.iter().map(|event| {
            vec![
                output::format_time(event.received_at_ms),
                event.id.clone(),
                output::sanitize(event.event.as_deref().unwrap_or("-")),
                output::sanitize(event.call_id.as_deref().unwrap_or("-")),
                output::format_bytes(event.size_bytes),
                state_text(event),
            ]
        });
        let header = ["RECEIVED (UTC)", "ID", "EVENT", "CALL OR CHAT", "SIZE", "STATE"];
        output::print_table(&header, rows.collect(), "no events; send one with: retell-webhook send call_ended")
    }
}

/// `stored` or `unparsed`, whether the event is a revision, and the number of duplicates.
pub(super) fn state_text(event: &EventView) -> String {
    let mut state = event.state.to_owned();
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
    format!("{}{rule}, after {} ms", answered.outcome, answered.duration_ms)
}

impl EventsShowArgs {
    async fn run(self, store: &dyn Store) -> CliResult {
        if self.body {
            let body = operations::events::event_body(store, self.id).await?;
            return output::ignore_broken_pipe(io::stdout().lock().write_all(&body));
        }
        let details = operations::events::show_event(store, self.id).await?;
        if self.json {
            return output::print_json(&details);
        }
        let EventDetailsView { event: summary, inbound_answer: answered, deliveries, wanted } = details;
        output::print_fields(&[
            ("id", Some(summary.id.clone())),
            ("company", Some(summary.company.clone())),
            ("event", summary.event.clone()),
            ("call or chat", summary.call_id.clone()),
            ("agent", summary.agent_id.clone()),
            ("received (UTC)", Some(output::format_time(summary.received_at_ms))),
            ("from", summary.source.clone()),
            ("content type", summary.content_type.clone()),
            ("query", summary.query.clone()),
            ("signed by key", summary.key_fingerprint.clone()),
            ("origin", Some(summary.origin.to_owned())),
            ("state", Some(state_text(&summary))),
            ("revision of", summary.revision_of.clone()),
            ("size", Some(output::format_bytes(summary.size_bytes))),
            ("answered", answered.as_ref().map(inbound_answer_text)),
            ("answer", answered.and_then(|answered| answered.answer).map(|answer| answer.get().to_owned())),
        ])?;
        output::print_line("")?;
        outlook::print_outlook_table(&deliveries)?;
        if wanted == Some(false) {
            output::print_line("no handler wanted this event")?;
        }
        output::print_line("\nTo print the body, which contains what the caller said: --body")
    }
}

async fn export_events(filter: EventFilter, store: &dyn Store) -> CliResult {
    let progress = export_progress_bar();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut unreadable = 0;
    let mut remaining = filter.limit.unwrap_or(usize::MAX);
    let mut after = 0;
    // In chunks, so that an export of any size needs little memory and holds no read transaction while output is
    // written.
    while remaining > 0 {
        let chunk = store.export_events(after, EventFilter { limit: Some(remaining), ..filter.clone() }).await?;
        let Some(last) = chunk.last() else { break };
        after = last.summary.seq;
        remaining -= chunk.len();
        for event in &chunk {
            let body = match &event.body {
                Ok(body) => body,
                Err(error) => {
                    eprintln!("retell-webhook: event {} was not exported: {error}", event.summary.id);
                    unreadable += 1;
                    continue;
                }
            };
            let line = serde_json::to_string(&ExportedEvent::new(&event.summary, body))?;
            if let Err(error) = writeln!(out, "{line}") {
                return output::ignore_broken_pipe(Err(error));
            }
        }
        progress.inc(chunk.len() as u64);
    }
    progress.finish_and_clear();
    output::ignore_broken_pipe(out.flush())?;
    if unreadable > 0 { Err(CliError::AlreadyPrinted) } else { Ok(()) }
}

/// One line of an export: enough to verify the signature again and to import the event into another store.
#[derive(Serialize)]
struct ExportedEvent<'a> {
    id: String,
    company: &'a str,
    event: Option<&'a str>,
    received_at_ms: i64,
    headers: ExportedHeaders<'a>,
    body_base64: String,
}

#[derive(Serialize)]
struct ExportedHeaders<'a> {
    #[serde(rename = "content-type", skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(rename = "x-retell-signature", skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
}

impl<'a> ExportedEvent<'a> {
    fn new(summary: &'a EventSummary, body: &[u8]) -> Self {
        Self {
            id: summary.id.to_string(),
            company: &summary.company,
            event: summary.kind.as_deref(),
            received_at_ms: summary.received_at_ms,
            headers: ExportedHeaders {
                content_type: summary.content_type.as_deref(),
                signature: summary.signature.as_deref(),
            },
            body_base64: BASE64_STANDARD.encode(body),
        }
    }
}

/// A counter on stderr, unless stderr is not a terminal or the events are printed to the terminal as well.
fn export_progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} events exported, {per_sec}, {elapsed}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
