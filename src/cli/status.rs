//! `status`: is the receiver up, what came in, and does anything wait.

mod retention;

use clap::Args;
use serde_json::{Value, json};

use super::output::{self, Done, Failure};
use super::{events, health, stores};
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::config::Settings;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{AlarmRow, Backlog, EventFilter, EventSummary, Overview, Store};

/// So long without an event is worth a word.
const QUIET_MS: i64 = 24 * 3_600_000;
/// Events looked through for the latest one that was sent, not made by the receiver itself.
const LATEST: usize = 64;
/// A handler that is given an event this late does not keep up.
const LATE_MS: i64 = 60_000;

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All there is to say.
struct Report {
    url: String,
    /// What `/health/ready` said; `None` without an answer.
    readiness: Option<health::Readiness>,
    store: SqliteUrl,
    /// What is in the store, or why that cannot be told.
    stored: Result<Stored, String>,
    warnings: Vec<String>,
}

struct Stored {
    overview: Overview,
    last: Option<EventSummary>,
    /// Those that are on, or were when the receiver stopped.
    alarms: Vec<AlarmRow>,
    size_bytes: u64,
}

impl Status {
    pub(super) async fn run(self) -> Done {
        let settings = stores::settings()?;
        let now_ms = Clock::system().now_ms();
        let url = health::local(&settings);
        let readiness = health::ask(&url).await?;
        let store = SqliteUrl::parse(&settings.storage.url)?;
        let stored = look(&store, now_ms).await;
        let mut warnings = settings.warnings(settings.server.port);
        if let Ok(stored) = &stored {
            warnings.extend(stored.warnings(&settings, now_ms));
        }
        let report = Report { url, readiness, store, stored, warnings };
        if self.json { report.json(&settings) } else { report.text(&settings, now_ms) }?;
        if report.is_ready() { Ok(()) } else { Err(Failure::Said) }
    }
}

async fn look(url: &SqliteUrl, now_ms: i64) -> Result<Stored, String> {
    let said = |error: crate::storage::StoreError| error.to_string();
    let store = SqliteStore::open_read_only(url, &Supervisor::default()).map_err(said)?;
    let overview = store.overview(now_ms).await.map_err(said)?;
    let latest = EventFilter { limit: Some(LATEST), ..EventFilter::default() };
    let last = store.events(latest).await.map_err(said)?.into_iter().find(|event| !event.is_internal());
    let alarms = store.alarms().await.map_err(said)?;
    Ok(Stored { overview, last, alarms, size_bytes: url.size_bytes() })
}

impl Stored {
    fn warnings(&self, settings: &Settings, now_ms: i64) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(last) = self.last.as_ref().filter(|last| now_ms - last.received_at_ms > QUIET_MS) {
            warnings.push(format!(
                "no event for {}: does the webhook URL in Retell's dashboard still end here?",
                ago(now_ms - last.received_at_ms)
            ));
        }
        for backlog in self.overview.handlers.iter().filter(|backlog| is_on(settings, backlog)) {
            let late_ms = backlog.behind_since_ms.map_or(0, |since_ms| now_ms - since_ms);
            if late_ms > LATE_MS {
                warnings.push(format!(
                    "handler `{}` does not keep up: {} events wait, the first for {}",
                    backlog.handler,
                    backlog.behind,
                    ago(late_ms)
                ));
            }
            if backlog.dead > 0 {
                warnings.push(format!(
                    "handler `{}` gave up on {} events, see `dead list`",
                    backlog.handler,
                    count(backlog.dead)
                ));
            }
        }
        warnings
    }
}

/// The store remembers handlers that were taken out of the settings: those wait for nothing.
fn is_on(settings: &Settings, backlog: &Backlog) -> bool {
    settings.handlers.iter().any(|handler| handler.enabled && handler.name == backlog.handler)
}

impl Report {
    fn is_ready(&self) -> bool {
        self.readiness.as_ref().is_some_and(|readiness| readiness.ready)
    }

    /// `up and ready`; what it says is wrong; or `down`.
    fn receiver(&self) -> String {
        match &self.readiness {
            None => "down: no answer".to_owned(),
            Some(readiness) if readiness.ready => "up and ready".to_owned(),
            Some(readiness) => format!("up, not ready: {}", readiness.answer),
        }
    }

    fn text(&self, settings: &Settings, now_ms: i64) -> Done {
        let receiver = format!("{} ({})", self.receiver(), self.url);
        match &self.stored {
            Ok(stored) => {
                self.figures(stored, receiver, settings, now_ms)?;
                handlers(&stored.overview, settings, now_ms)?;
                self.alarms(&stored.alarms, now_ms)?;
            }
            Err(why) => output::fields(&[("receiver", Some(receiver)), ("store", Some(why.clone()))])?,
        }
        self.warnings.iter().try_for_each(|warning| output::line(format!("\nWARNING: {warning}")))
    }

    fn alarms(&self, alarms: &[AlarmRow], now_ms: i64) -> Done {
        let stopped = if self.readiness.is_none() { ", as of when the receiver stopped" } else { "" };
        alarms.iter().try_for_each(|on| {
            let since = ago((now_ms - on.since_ms).max(0));
            output::line(format!("\nALARM ({}, for {since}{stopped}): {}", on.alarm, output::plain(&on.text)))
        })
    }

    fn figures(&self, stored: &Stored, receiver: String, settings: &Settings, now_ms: i64) -> Done {
        let Stored { overview, last, size_bytes, .. } = stored;
        let last = last.as_ref().map(|last| {
            let name = last.event.as_deref().unwrap_or("without a name");
            let ago = ago((now_ms - last.received_at_ms).max(0));
            format!("{} ({ago} ago): {name}, {}", output::time(last.received_at_ms), last.id)
        });
        output::fields(&[
            ("receiver", Some(receiver)),
            ("events", Some(overview.accepted.to_string())),
            ("in the last hour", Some(overview.accepted_last_hour.to_string())),
            ("in the last 24 h", Some(overview.accepted_last_day.to_string())),
            ("last event (UTC)", Some(last.unwrap_or_else(|| "none yet".to_owned()))),
            ("store", Some(format!("{}, {}", self.store.path().display(), output::size(*size_bytes)))),
            ("kept", Some(retention::text(settings))),
        ])
    }

    fn json(&self, settings: &Settings) -> Done {
        let stored = self.stored.as_ref().ok();
        let overview = stored.map(|stored| &stored.overview);
        let handlers = overview.map(|overview| overview.handlers.iter().map(describe).collect::<Vec<_>>());
        let alarms = stored.map(|stored| stored.alarms.iter().map(alarm).collect::<Vec<_>>());
        output::json(&json!({
            "receiver": {
                "url": self.url,
                "up": self.readiness.is_some(),
                "ready": self.is_ready(),
                "answer": self.readiness.as_ref().map(|readiness| parsed(&readiness.answer)),
            },
            "events": overview.map(|overview| json!({
                "accepted": overview.accepted,
                "accepted_last_hour": overview.accepted_last_hour,
                "accepted_last_day": overview.accepted_last_day,
            })),
            "last_event": stored.and_then(|stored| stored.last.as_ref()).map(events::describe),
            "handlers": handlers,
            "alarms": alarms,
            "store": {
                "path": self.store.path().display().to_string(),
                "size_bytes": stored.map(|stored| stored.size_bytes),
                "error": self.stored.as_ref().err(),
            },
            "retention": retention::describe(settings),
            "warnings": self.warnings,
        }))
    }
}

fn parsed(answer: &str) -> Value {
    serde_json::from_str(answer).unwrap_or_else(|_| Value::String(answer.to_owned()))
}

fn describe(backlog: &Backlog) -> Value {
    json!({
        "name": backlog.handler,
        "behind": backlog.behind,
        "behind_since_ms": backlog.behind_since_ms,
        "pending": backlog.pending,
        "running": backlog.running,
        "scheduled": backlog.scheduled,
        "dead": backlog.dead,
        "oldest_undelivered_ms": backlog.oldest_ms,
        "breaker": backlog.breaker,
        "breaker_since_ms": backlog.breaker_since_ms,
    })
}

fn alarm(on: &AlarmRow) -> Value {
    json!({
        "alarm": on.alarm,
        "subject": Some(&on.subject).filter(|subject| !subject.is_empty()),
        "since_ms": on.since_ms,
        "text": on.text,
    })
}

fn handlers(overview: &Overview, settings: &Settings, now_ms: i64) -> Done {
    let rows = overview.handlers.iter().map(|backlog| {
        vec![
            output::plain(&backlog.handler),
            backlog.behind.to_string(),
            count(backlog.running),
            count(backlog.scheduled),
            count(backlog.dead),
            backlog.oldest_ms.map_or_else(|| "-".to_owned(), |since_ms| ago((now_ms - since_ms).max(0))),
            backlog.breaker.as_str().to_owned(),
            if is_on(settings, backlog) { "" } else { "not in these settings" }.to_owned(),
        ]
    });
    output::line("")?;
    output::table(
        &["HANDLER", "BEHIND", "RUNNING", "SCHEDULED", "DEAD", "OLDEST", "BREAKER", ""],
        rows.collect(),
        "no handler has run yet",
    )
}

fn count(count: i64) -> String {
    if count >= Backlog::COUNTED { format!("{count} or more") } else { count.to_string() }
}

/// `45 s`, `12 min`, `5 h`, `3 days`.
fn ago(ms: i64) -> String {
    match ms / 1000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::ago;

    #[test]
    fn spans_are_short() {
        let spans = [0, 119_000, 120_000, 7_200_000, 200_000_000].map(ago);
        assert_eq!(spans, ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
