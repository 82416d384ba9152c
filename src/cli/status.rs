//! `status`: is the receiver up, what came in, and does anything wait.

mod retention;

use clap::Args;
use serde_json::{Value, json};

use super::output::{self, CliError, CliResult};
use super::{context, events, health};
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::config::Settings;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{AlarmRow, EventFilter, EventSummary, HandlerBacklog, Store, StoreOverview};

/// So long without an event is worth a word.
const SILENCE_WARNING_MS: i64 = 24 * 3_600_000;
/// Events looked through for the latest one that was sent, not made by the receiver itself.
const MAX_RECENT_EVENTS: usize = 64;
/// A handler that is given an event this late does not keep up.
const BACKLOG_WARNING_MS: i64 = 60_000;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All there is to say.
struct StatusReport {
    receiver_url: String,
    /// What `/health/ready` said; `None` without an answer.
    readiness: Option<health::Readiness>,
    store_url: SqliteUrl,
    /// What is in the store, or why that cannot be told.
    store_status: Result<StoreStatus, String>,
    warnings: Vec<String>,
}

struct StoreStatus {
    overview: StoreOverview,
    last_event: Option<EventSummary>,
    /// Those that are on, or were when the receiver stopped.
    alarms: Vec<AlarmRow>,
    size_bytes: u64,
}

impl StatusArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let now_ms = Clock::system().now_ms();
        let url = health::local_base_url(&settings);
        let readiness = health::get_readiness(&url).await?;
        let store = SqliteUrl::parse(&settings.storage.url)?;
        let stored = read_store_status(&store, now_ms).await;
        let mut warnings = settings.warnings(settings.server.port);
        if let Ok(stored) = &stored {
            warnings.extend(stored.warnings(&settings, now_ms));
        }
        let report = StatusReport { receiver_url: url, readiness, store_url: store, store_status: stored, warnings };
        if self.json { report.print_json(&settings) } else { report.print_text(&settings, now_ms) }?;
        if report.is_ready() { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

async fn read_store_status(url: &SqliteUrl, now_ms: i64) -> Result<StoreStatus, String> {
    let said = |error: crate::storage::StoreError| error.to_string();
    let store = SqliteStore::open_read_only(url, &Supervisor::default()).map_err(said)?;
    let overview = store.overview(now_ms).await.map_err(said)?;
    let latest = EventFilter { limit: Some(MAX_RECENT_EVENTS), ..EventFilter::default() };
    let last = store.list_events(latest).await.map_err(said)?.into_iter().find(|event| !event.is_internal());
    let alarms = store.list_alarms().await.map_err(said)?;
    Ok(StoreStatus { overview, last_event: last, alarms, size_bytes: url.size_bytes() })
}

impl StoreStatus {
    fn warnings(&self, settings: &Settings, now_ms: i64) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(last) = self.last_event.as_ref().filter(|last| now_ms - last.received_at_ms > SILENCE_WARNING_MS) {
            warnings.push(format!(
                "no event for {}: does the webhook URL in Retell's dashboard still end here?",
                format_age(now_ms - last.received_at_ms)
            ));
        }
        for backlog in self.overview.backlogs.iter().filter(|backlog| is_handler_enabled(settings, backlog)) {
            let late_ms = backlog.behind_since_ms.map_or(0, |since_ms| now_ms - since_ms);
            if late_ms > BACKLOG_WARNING_MS {
                warnings.push(format!(
                    "handler `{}` does not keep up: {} events wait, the first for {}",
                    backlog.handler,
                    backlog.behind,
                    format_age(late_ms)
                ));
            }
            if backlog.dead > 0 {
                warnings.push(format!(
                    "handler `{}` gave up on {} events, see `dead list`",
                    backlog.handler,
                    format_count(backlog.dead)
                ));
            }
        }
        warnings
    }
}

/// The store remembers handlers that were taken out of the settings: those wait for nothing.
fn is_handler_enabled(settings: &Settings, backlog: &HandlerBacklog) -> bool {
    settings.handlers.iter().any(|handler| handler.enabled && handler.name == backlog.handler)
}

impl StatusReport {
    fn is_ready(&self) -> bool {
        self.readiness.as_ref().is_some_and(|readiness| readiness.ready)
    }

    /// `up and ready`; what it says is wrong; or `down`.
    fn receiver_text(&self) -> String {
        match &self.readiness {
            None => "down: no answer".to_owned(),
            Some(readiness) if readiness.ready => "up and ready".to_owned(),
            Some(readiness) => format!("up, not ready: {}", readiness.body),
        }
    }

    fn print_text(&self, settings: &Settings, now_ms: i64) -> CliResult {
        let receiver = format!("{} ({})", self.receiver_text(), self.receiver_url);
        match &self.store_status {
            Ok(stored) => {
                self.print_overview(stored, receiver, settings, now_ms)?;
                print_handlers(&stored.overview, settings, now_ms)?;
                self.print_alarms(&stored.alarms, now_ms)?;
            }
            Err(why) => output::print_fields(&[("receiver", Some(receiver)), ("store", Some(why.clone()))])?,
        }
        self.warnings.iter().try_for_each(|warning| output::print_line(format!("\nWARNING: {warning}")))
    }

    fn print_alarms(&self, alarms: &[AlarmRow], now_ms: i64) -> CliResult {
        let stopped = if self.readiness.is_none() { ", as of when the receiver stopped" } else { "" };
        alarms.iter().try_for_each(|on| {
            let since = format_age((now_ms - on.since_ms).max(0));
            output::print_line(format!("\nALARM ({}, for {since}{stopped}): {}", on.kind, output::sanitize(&on.text)))
        })
    }

    fn print_overview(&self, stored: &StoreStatus, receiver: String, settings: &Settings, now_ms: i64) -> CliResult {
        let StoreStatus { overview, last_event: last, size_bytes, .. } = stored;
        let last = last.as_ref().map(|last| {
            let name = last.kind.as_deref().unwrap_or("without a name");
            let ago = format_age((now_ms - last.received_at_ms).max(0));
            format!("{} ({ago} ago): {name}, {}", output::format_time(last.received_at_ms), last.id)
        });
        output::print_fields(&[
            ("receiver", Some(receiver)),
            ("events", Some(overview.accepted.to_string())),
            ("in the last hour", Some(overview.accepted_last_hour.to_string())),
            ("in the last 24 h", Some(overview.accepted_last_day.to_string())),
            ("last event (UTC)", Some(last.unwrap_or_else(|| "none yet".to_owned()))),
            ("store", Some(format!("{}, {}", self.store_url.path().display(), output::format_bytes(*size_bytes)))),
            ("kept", Some(retention::format_text(settings))),
        ])
    }

    fn print_json(&self, settings: &Settings) -> CliResult {
        let stored = self.store_status.as_ref().ok();
        let overview = stored.map(|stored| &stored.overview);
        let handlers = overview.map(|overview| overview.backlogs.iter().map(backlog_json).collect::<Vec<_>>());
        let alarms = stored.map(|stored| stored.alarms.iter().map(alarm_json).collect::<Vec<_>>());
        output::print_json(&json!({
            "receiver": {
                "url": self.receiver_url,
                "up": self.readiness.is_some(),
                "ready": self.is_ready(),
                "answer": self.readiness.as_ref().map(|readiness| parse_json_or_text(&readiness.body)),
            },
            "events": overview.map(|overview| json!({
                "accepted": overview.accepted,
                "accepted_last_hour": overview.accepted_last_hour,
                "accepted_last_day": overview.accepted_last_day,
            })),
            "last_event": stored.and_then(|stored| stored.last_event.as_ref()).map(events::event_json),
            "handlers": handlers,
            "alarms": alarms,
            "store": {
                "path": self.store_url.path().display().to_string(),
                "size_bytes": stored.map(|stored| stored.size_bytes),
                "error": self.store_status.as_ref().err(),
            },
            "retention": retention::to_json(settings),
            "warnings": self.warnings,
        }))
    }
}

fn parse_json_or_text(answer: &str) -> Value {
    serde_json::from_str(answer).unwrap_or_else(|_| Value::String(answer.to_owned()))
}

fn backlog_json(backlog: &HandlerBacklog) -> Value {
    json!({
        "name": backlog.handler,
        "behind": backlog.behind,
        "behind_since_ms": backlog.behind_since_ms,
        "pending": backlog.pending,
        "running": backlog.running,
        "scheduled": backlog.scheduled,
        "dead": backlog.dead,
        "oldest_undelivered_ms": backlog.oldest_waiting_since_ms,
        "breaker": backlog.breaker_state,
        "breaker_since_ms": backlog.breaker_since_ms,
    })
}

fn alarm_json(on: &AlarmRow) -> Value {
    json!({
        "alarm": on.kind,
        "subject": Some(&on.subject).filter(|subject| !subject.is_empty()),
        "since_ms": on.since_ms,
        "text": on.text,
    })
}

fn print_handlers(overview: &StoreOverview, settings: &Settings, now_ms: i64) -> CliResult {
    let rows = overview.backlogs.iter().map(|backlog| {
        vec![
            output::sanitize(&backlog.handler),
            backlog.behind.to_string(),
            format_count(backlog.running),
            format_count(backlog.scheduled),
            format_count(backlog.dead),
            backlog
                .oldest_waiting_since_ms
                .map_or_else(|| "-".to_owned(), |since_ms| format_age((now_ms - since_ms).max(0))),
            backlog.breaker_state.as_str().to_owned(),
            if is_handler_enabled(settings, backlog) { "" } else { "not in these settings" }.to_owned(),
        ]
    });
    output::print_line("")?;
    output::print_table(
        &["HANDLER", "BEHIND", "RUNNING", "SCHEDULED", "DEAD", "OLDEST", "BREAKER", ""],
        rows.collect(),
        "no handler has run yet",
    )
}

fn format_count(count: i64) -> String {
    if count >= HandlerBacklog::MAX_COUNTED { format!("{count} or more") } else { count.to_string() }
}

/// `45 s`, `12 min`, `5 h`, `3 days`.
fn format_age(ms: i64) -> String {
    match ms / 1000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::format_age;

    #[test]
    fn spans_are_short() {
        let spans = [0, 119_000, 120_000, 7_200_000, 200_000_000].map(format_age);
        assert_eq!(spans, ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
