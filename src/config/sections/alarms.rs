use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::FieldError;
use crate::config::values::duration_ms;

/// `[alarms]`: the thresholds at which the receiver raises an alarm about itself.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct AlarmSettings {
    /// Whether alarms are checked at all; `false` checks none of them.
    pub enabled: bool,
    /// Milliseconds between two checks of all alarms, 100 to 3600000.
    #[serde(rename = "check_interval_ms", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub check_interval: Duration,
    /// Milliseconds without a new breach after which an alarm is resolved. A condition that comes and goes within this
    /// time is one alarm.
    #[serde(rename = "resolve_after_ms", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub resolve_after: Duration,
    /// Number of dead deliveries per handler within `dead_deliveries_window_ms` that raises the alarm, at most 1000.
    /// 0 turns it off.
    pub dead_deliveries: u64,
    /// Milliseconds over which `dead_deliveries` are counted.
    #[serde(rename = "dead_deliveries_window_ms", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub dead_deliveries_window: Duration,
    /// Age in milliseconds of a handler's oldest unfinished delivery, attempted or not, that raises the alarm. 0
    /// turns it off.
    #[serde(rename = "oldest_undelivered_ms", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub oldest_undelivered: Duration,
    /// Milliseconds for which a handler's circuit breaker has been open that raise the alarm. 0 turns it off.
    #[serde(rename = "breaker_open_ms", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub breaker_open: Duration,
    /// Number of rejected requests (401, 403) within a minute that raises the alarm. 0 turns it off.
    pub rejected_per_minute: u64,
    /// Number of events that could not be stored (503) within a minute that raises the alarm. 0 turns it off.
    pub not_stored_per_minute: u64,
    /// Number of events in the same hours of earlier days from which the silence of a company or an agent raises the
    /// alarm. The baseline is learned over a week. 0 turns it off.
    pub silence_baseline_events: u64,
    /// Shortest silence in milliseconds that is compared with the baseline.
    #[serde(rename = "silence_baseline_min_ms", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub silence_baseline_min: Duration,
    /// Milliseconds of silence of a company that had events before that raise the alarm whatever the baseline. 0 turns
    /// it off.
    #[serde(rename = "silence_after_ms", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub silence_after: Duration,
    /// Percentage of the disk under the store below which free space raises the alarm, 0 to 100. 0 turns it off.
    pub disk_free_percent: u8,
    /// Bytes on the disk under the store below which free space raises the alarm. 0 turns it off.
    pub disk_free_bytes: u64,
    /// Milliseconds by which the clocks of this machine and of the sender differ that raise the alarm. 0 turns it off.
    /// Beyond `security.signature_tolerance_ms` every request is rejected.
    #[serde(rename = "clock_skew_ms", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub clock_skew: Duration,
}

impl Default for AlarmSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            check_interval: Duration::from_secs(15),
            resolve_after: Duration::from_mins(5),
            dead_deliveries: 1,
            dead_deliveries_window: Duration::from_hours(1),
            oldest_undelivered: Duration::from_mins(15),
            breaker_open: Duration::from_mins(1),
            rejected_per_minute: 30,
            not_stored_per_minute: 1,
            silence_baseline_events: 30,
            silence_baseline_min: Duration::from_mins(30),
            silence_after: Duration::ZERO,
            disk_free_percent: 5,
            disk_free_bytes: 1_000_000_000,
            clock_skew: Duration::from_mins(1),
        }
    }
}

impl AlarmSettings {
    pub(in crate::config) fn validate(&self) -> Result<(), FieldError> {
        if !(Duration::from_millis(100)..=Duration::from_hours(1)).contains(&self.check_interval) {
            let why = format!("{} ms is out of range; expected 100 to 3600000 ms", self.check_interval.as_millis());
            return Err(FieldError::new("alarms.check_interval_ms", why));
        }
        // The store returns at most this many dead letters per handler, so a higher threshold would never be reached.
        if self.dead_deliveries > 1_000 {
            let why = format!("{} is out of range; expected 0 (off) to 1000", self.dead_deliveries);
            return Err(FieldError::new("alarms.dead_deliveries", why));
        }
        if self.disk_free_percent > 100 {
            let why = format!("{} is out of range; expected 0 (off) to 100", self.disk_free_percent);
            return Err(FieldError::new("alarms.disk_free_percent", why));
        }
        Ok(())
    }
}
