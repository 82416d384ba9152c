//! `status`: whether the receiver is up, what it received, and what is waiting.

mod retention;

use clap::Args;
use serde_json::{Value, json};

use super::output::{self, CliError, CliResult};
use super::{context, health};
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::config::{Settings, StorageUrl};
use crate::operations::events::event_view;
use crate::storage::{self, AlarmRow, EventFilter, EventSummary, HandlerBacklog, Role, StoreOverview};

/// Time without an event after which `status` warns.
const SILENCE_WARNING_MS: i64 = 24 * 3_600_000;
/// The latest event from Retell is searched among this many events: the newest ones may be internal events.
const MAX_RECENT_EVENTS: usize = 64;
/// A handler whose oldest unplanned event is older than this is behind, and `status` warns.
const BACKLOG_WARNING_MS: i64 = 60_000;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

struct StatusReport {
    receiver_url: String,
    /// Response of `/health/ready`; `None` when the receiver does not respond.
    readiness: Option<health::Readiness>,
    store_location: String,
    /// `Err` with the reason when the store cannot be read.
    store_status: Result<StoreStatus, String>,
    warnings: Vec<String>,
}

struct StoreStatus {
    overview: StoreOverview,
    last_event: Option<EventSummary>,
    /// Raised alarms; those of a receiver that is down were raised when it stopped.
    alarms: Vec<AlarmRow>,
    size_bytes: u64,
}

impl StatusArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let now_ms = Clock::system().now_ms();
        let url = health::local_base_url(&settings);
        let readiness = health::get_readiness(&url).await?;
        let store_status = read_store_status(&settings.storage.url, now_ms).await;
        let mut warnings = settings.warnings(settings.server.port);
        if let Ok(status) = &store_status {
            warnings.extend(status.warnings(&settings, now_ms));
        }
        let report = StatusReport {
            receiver_url: url,
            readiness,
            store_location: settings.storage.url.location(),
            store_status,
            warnings,
        };
        if self.json { report.print_json(&settings) } else { report.print_text(&settings, now_ms) }?;
        if report.is_ready() { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

async fn read_store_status(url: &StorageUrl, now_ms: i64) -> Result<StoreStatus, String> {
    let to_text = |error: crate::storage::StoreError| error.to_string();
    let store = storage::open(url, Role::Reader, &Supervisor::default()).map_err(to_text)?;
    let overview = store.overview(now_ms).await.map_err(to_text)?;
    let filter = EventFilter { limit: Some(MAX_RECENT_EVENTS), ..EventFilter::default() };
    let recent = store.list_events(filter).await.map_err(to_text)?;
    let last_event = recent.into_iter().find(|event| !event.is_internal());
    let alarms = store.list_alarms().await.map_err(to_text)?;
    let size_bytes = store.size_bytes().await.map_err(to_text)?;
    Ok(StoreStatus { overview, last_event, alarms, size_bytes })
}

impl StoreStatus {
    fn warnings(&self, settings: &Settings, now_ms: i64) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(last) = self.last_event.as_ref().filter(|last| now_ms - last.received_at_ms > SILENCE_WARNING_MS) {
            warnings.push(format!(
                "no event for {}: check that the webhook URL in Retell's dashboard still leads to this receiver",
                format_age(now_ms - last.received_at_ms)
            ));
        }
        for backlog in self.overview.backlogs.iter().filter(|backlog| is_handler_enabled(settings, backlog)) {
            let late_ms = backlog.behind_since_ms.map_or(0, |since_ms| now_ms - since_ms);
            if late_ms > BACKLOG_WARNING_MS {
                warnings.push(format!(
                    "handler `{}` is behind: {} events are waiting, the oldest for {}",
                    backlog.handler,
                    backlog.behind,
                    format_age(late_ms)
                ));
            }
            if backlog.dead > 0 {
                warnings.push(format!(
                    "handler `{}` has {} dead letters; `retell-webhook dead list` prints them",
                    backlog.handler,
                    format_count(backlog.dead)
                ));
            }
        }
        warnings
    }
}

/// The store still has rows of handlers that were removed from the configuration; these are not waiting for anything.
fn is_handler_enabled(settings: &Settings, backlog: &HandlerBacklog) -> bool {
    settings.handlers.iter().any(|handler| handler.enabled && handler.name == backlog.handler)
}

impl StatusReport {
    fn is_ready(&self) -> bool {
        self.readiness.as_ref().is_some_and(|readiness| readiness.ready)
    }

    fn receiver_text(&self) -> String {
        match &self.readiness {
            None => "down: no response".to_owned(),
            Some(readiness) if readiness.ready => "up and ready".to_owned(),
            Some(readiness) => format!("up, not ready: {}", readiness.body),
        }
    }

    fn print_text(&self, settings: &Settings, now_ms: i64) -> CliResult {
        let receiver = format!("{} ({})", self.receiver_text(), self.receiver_url);
        match &self.store_status {
            Ok(status) => {
                self.print_overview(status, receiver, settings, now_ms)?;
                print_handlers(&status.overview, settings, now_ms)?;
                self.print_alarms(&status.alarms, now_ms)?;
            }
            Err(error) => output::print_fields(&[("receiver", Some(receiver)), ("store", Some(error.clone()))])?,
        }
        self.warnings.iter().try_for_each(|warning| output::print_line(format!("\nWARNING: {warning}")))
    }

    fn print_alarms(&self, alarms: &[AlarmRow], now_ms: i64) -> CliResult {
        let stopped = if self.readiness.is_none() { ", as of when the receiver stopped" } else { "" };
        alarms.iter().try_for_each(|alarm| {
            let age = format_age((now_ms - alarm.since_ms).max(0));
            output::print_line(format!(
                "\nALARM ({}, for {age}{stopped}): {}",
                alarm.kind.as_str(),
                output::sanitize(&alarm.text)
            ))
        })
    }

    fn print_overview(&self, status: &StoreStatus, receiver: String, settings: &Settings, now_ms: i64) -> CliResult {
        let StoreStatus { overview, last_event, size_bytes, .. } = status;
        let last_event = last_event.as_ref().map(|event| {
            let kind = event.kind.as_deref().unwrap_or("without a name");
            let age = format_age((now_ms - event.received_at_ms).max(0));
            format!("{} ({age} ago): {kind}, {}", output::format_time(event.received_at_ms), event.id)
        });
        output::print_fields(&[
            ("receiver", Some(receiver)),
            ("events", Some(overview.accepted.to_string())),
            ("in the last hour", Some(overview.accepted_last_hour.to_string())),
            ("in the last 24 h", Some(overview.accepted_last_day.to_string())),
            ("last event (UTC)", Some(last_event.unwrap_or_else(|| "none yet".to_owned()))),
            ("store", Some(format!("{}, {}", self.store_location, output::format_bytes(*size_bytes)))),
            ("retention", Some(retention::format_text(settings))),
        ])
    }

    fn print_json(&self, settings: &Settings) -> CliResult {
        let status = self.store_status.as_ref().ok();
        let overview = status.map(|status| &status.overview);
        let handlers = overview.map(|overview| overview.backlogs.iter().map(backlog_json).collect::<Vec<_>>());
        let alarms = status.map(|status| status.alarms.iter().map(alarm_json).collect::<Vec<_>>());
        output::print_json(&json!({
            "receiver": {
                "url": self.receiver_url,
                "up": self.readiness.is_some(),
                "ready": self.is_ready(),
                "response": self.readiness.as_ref().map(|readiness| parse_json_or_text(&readiness.body)),
            },
            "events": overview.map(|overview| json!({
                "accepted": overview.accepted,
                "accepted_last_hour": overview.accepted_last_hour,
                "accepted_last_day": overview.accepted_last_day,
            })),
            "last_event": status.and_then(|status| status.last_event.as_ref()).map(event_view),
            "handlers": handlers,
            "alarms": alarms,
            "store": {
                "path": self.store_location,
                "size_bytes": status.map(|status| status.size_bytes),
                "error": self.store_status.as_ref().err(),
            },
            "retention": retention::to_json(settings),
            "warnings": self.warnings,
        }))
    }
}

fn parse_json_or_text(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()))
}

fn backlog_json(backlog: &HandlerBacklog) -> Value {
    json!({
        "handler": backlog.handler,
        "behind": backlog.behind,
        "behind_since_ms": backlog.behind_since_ms,
        "pending": backlog.pending,
        "running": backlog.running,
        "scheduled": backlog.scheduled,
        "dead": backlog.dead,
        "oldest_undelivered_since_ms": backlog.oldest_waiting_since_ms,
        "breaker": backlog.breaker_state,
        "breaker_since_ms": backlog.breaker_since_ms,
    })
}

fn alarm_json(alarm: &AlarmRow) -> Value {
    json!({
        "alarm": alarm.kind.as_str(),
        "subject": Some(&alarm.subject).filter(|subject| !subject.is_empty()),
        "since_ms": alarm.since_ms,
        "text": alarm.text,
    })
}

fn print_handlers(overview: &StoreOverview, settings: &Settings, now_ms: i64) -> CliResult {
    let rows = overview.backlogs.iter().map(|backlog| {
        let oldest = backlog.oldest_waiting_since_ms.map(|since_ms| format_age((now_ms - since_ms).max(0)));
        vec![
            output::sanitize(&backlog.handler),
            backlog.behind.to_string(),
            format_count(backlog.running),
            format_count(backlog.scheduled),
            format_count(backlog.dead),
            oldest.unwrap_or_else(|| "-".to_owned()),
            backlog.breaker_state.as_str().to_owned(),
            if is_handler_enabled(settings, backlog) { "" } else { "not configured" }.to_owned(),
        ]
    });
    output::print_line("")?;
    output::print_table(
        &["HANDLER", "BEHIND", "RUNNING", "SCHEDULED", "DEAD", "OLDEST", "BREAKER", ""],
        rows.collect(),
        "no handler has run yet",
    )
}

/// The store stops counting at [`HandlerBacklog::MAX_COUNTED`], so that `status` stays fast with a large backlog.
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
    fn ages_have_one_unit() {
        let spans = [0, 119_000, 120_000, 7_200_000, 200_000_000].map(format_age);
        assert_eq!(spans, ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
