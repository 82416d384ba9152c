//! Delivery settings of a handler with defaults filled in.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HandlerKind, HandlerSettings};
use crate::config::FieldError;

/// Delays between attempts of handlers that set no `retry_schedule`.
const DEFAULT_RETRY_SCHEDULE: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(24 * 3_600),
];
const HOUR_MS: u64 = 3_600_000;
/// A longer delay is most likely a mistake in the unit.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(7 * 24 * 3_600);
const MAX_CONCURRENCY: u16 = 1_000;
const CALL_STORE_CONCURRENCY: u16 = 256;

/// Whether the deliveries of a call form a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOrdering {
    /// The deliveries of a call run one at a time, in the order received.
    Call,
    /// Every delivery runs independently of the others.
    None,
}

/// Whether a handler receives revisions: further bodies of an event that was received before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevisionPolicy {
    /// Revisions are delivered and marked as such.
    Deliver,
    /// Revisions are skipped and never attempted.
    Skip,
}

/// Which `transcript_updated` events a handler receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TranscriptPolicy {
    /// Every one of them is delivered.
    All,
    /// Of those that wait, only the latest per call, which contains the earlier ones.
    Latest,
}

/// How the events of one handler are delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliverySettings {
    /// Whether the deliveries of a call form a sequence.
    pub ordering: DeliveryOrdering,
    /// Number of attempts at the same time, at least 1.
    pub concurrency: u16,
    /// Timeout of a single attempt.
    pub attempt_timeout: Duration,
    /// Delays between attempts, each varied randomly by up to a fifth.
    pub retry_schedule: Vec<Duration>,
    /// Age at which an unfinished delivery is dead.
    pub max_age: Duration,
    /// How long a delivery that waits for its next attempt blocks later deliveries of its call.
    pub ordering_timeout: Duration,
    /// Whether revisions are delivered or skipped.
    pub revisions: RevisionPolicy,
    /// Which `transcript_updated` events are delivered.
    pub transcripts: TranscriptPolicy,
    /// Maximum number of attempts per second.
    pub rate_per_second: Option<u32>,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            ordering: DeliveryOrdering::Call,
            concurrency: 16,
            attempt_timeout: Duration::from_secs(30),
            retry_schedule: DEFAULT_RETRY_SCHEDULE.into(),
            max_age: Duration::from_millis(72 * HOUR_MS),
            ordering_timeout: Duration::from_secs(600),
            revisions: RevisionPolicy::Deliver,
            transcripts: TranscriptPolicy::All,
            rate_per_second: None,
        }
    }
}

impl HandlerSettings {
    /// The table's delivery settings with defaults filled in.
    ///
    /// # Errors
    /// The key with an invalid value, and the reason.
    pub fn delivery_settings(&self) -> Result<DeliverySettings, FieldError> {
        let default = DeliverySettings::default();
        let revisions = if self.kind == HandlerKind::Slack { RevisionPolicy::Skip } else { default.revisions };
        let settings = DeliverySettings {
            ordering: self.ordering.unwrap_or(default.ordering),
            concurrency: self.concurrency.unwrap_or(match self.kind {
                // Concurrent attempts share the store's group commits, so 256 cost about as much as one.
                HandlerKind::CallStore => CALL_STORE_CONCURRENCY,
                _ => default.concurrency,
            }),
            attempt_timeout: self.timeout.unwrap_or(default.attempt_timeout),
            retry_schedule: match &self.retry_schedule {
                Some(waits) => parse_schedule(waits).map_err(|why| FieldError::new("retry_schedule", why))?,
                None => default.retry_schedule,
            },
            max_age: self.max_age.unwrap_or(default.max_age),
            ordering_timeout: self.ordering_timeout.unwrap_or(default.ordering_timeout),
            revisions: self.revisions.unwrap_or(revisions),
            transcripts: self.transcripts.unwrap_or(default.transcripts),
            rate_per_second: self.rate_per_second,
        };
        settings.invalid_setting().map_or(Ok(settings), Err)
    }
}

impl DeliverySettings {
    fn invalid_setting(&self) -> Option<FieldError> {
        let second = Duration::from_secs(1);
        let hour = Duration::from_millis(HOUR_MS);
        let invalid = |key, why: &str| Some(FieldError::new(key, why));
        if !(1..=MAX_CONCURRENCY).contains(&self.concurrency) {
            return invalid("concurrency", "expected 1 to 1000 attempts at the same time");
        }
        if !(second / 10..=hour).contains(&self.attempt_timeout) {
            return invalid("timeout_ms", "expected 100 to 3600000 ms");
        }
        if self.max_age < second {
            return invalid("max_age_ms", "expected at least 1000 ms");
        }
        if self.rate_per_second == Some(0) {
            return invalid(
                "rate_per_second",
                "0 would deliver nothing; expected at least 1, or enabled = false to skip the events",
            );
        }
        None
    }
}

fn parse_schedule(waits: &[String]) -> Result<Vec<Duration>, String> {
    waits.iter().map(|wait| parse_duration(wait)).collect()
}

/// Parses durations such as `5s`, `2m` and `1h30m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || "expected durations such as \"5s\", \"2m\" or \"24h\", each at most 7 days".to_owned();
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| invalid())?;
    match Duration::try_from(parsed) {
        Ok(delay) if delay <= MAX_RETRY_DELAY => Ok(delay),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> HandlerSettings {
        HandlerSettings::new("crm", HandlerKind::Log)
    }

    #[test]
    fn unset_keys_get_defaults() {
        assert_eq!(table().delivery_settings().unwrap(), DeliverySettings::default());
        let slack = HandlerSettings::new("team", HandlerKind::Slack);
        assert_eq!(slack.delivery_settings().unwrap().revisions, RevisionPolicy::Skip);
    }

    #[test]
    fn retry_schedules_are_durations() {
        let waits = |waits: &[&str]| {
            let schedule = Some(waits.iter().map(|wait| (*wait).to_owned()).collect());
            HandlerSettings { retry_schedule: schedule, ..table() }
                .delivery_settings()
                .map(|settings| settings.retry_schedule)
        };
        let read = waits(&["500ms", "5s", "2m", "1h 30m", "24h"]).unwrap();
        let seconds: Vec<_> = read.iter().map(Duration::as_secs_f64).collect();
        assert_eq!(seconds, [0.5, 5.0, 120.0, 5_400.0, 86_400.0]);
        assert!(waits(&[]).unwrap().is_empty());
        for wrong in ["5", "soon", "-5s", "8d", "200h"] {
            assert_eq!(waits(&[wrong]).unwrap_err().key(), "retry_schedule", "{wrong}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for (table, key) in [
            (HandlerSettings { concurrency: Some(0), ..table() }, "concurrency"),
            (HandlerSettings { timeout: Some(Duration::from_millis(5)), ..table() }, "timeout_ms"),
            (HandlerSettings { max_age: Some(Duration::ZERO), ..table() }, "max_age_ms"),
            (HandlerSettings { rate_per_second: Some(0), ..table() }, "rate_per_second"),
        ] {
            assert_eq!(table.delivery_settings().unwrap_err().key(), key);
        }
    }
}
