use serde::{Deserialize, Serialize};

use super::ConfigError;

/// `[alarms]`: what is watched. Everywhere 0 turns one off.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct AlarmSettings {
    /// `false` watches nothing.
    pub enabled: bool,
    /// How often everything is looked at.
    pub check_interval_ms: u64,
    /// An alarm is over when nothing was wrong for so long: what comes and goes is one alarm.
    pub resolve_after_ms: u64,
    /// So many deliveries of a handler died within `dead_deliveries_window_ms`.
    pub dead_deliveries: u64,
    /// The time in which they are counted.
    pub dead_deliveries_window_ms: u64,
    /// A delivery has waited this long, tried or not.
    pub oldest_undelivered_ms: u64,
    /// Attempts at a handler rest, because too many failed, for this long.
    pub breaker_open_ms: u64,
    /// So many requests were refused within a minute.
    pub rejected_per_minute: u64,
    /// So many events could not be stored (503) within a minute.
    pub not_stored_per_minute: u64,
    /// A company or an agent is silent while the same hours of earlier days had at least so many events.
    pub silence_baseline_events: u64,
    /// Shorter silence is never an alarm of that kind.
    pub silence_baseline_min_ms: u64,
    /// A company that had events is silent for this long, whatever was usual.
    pub silence_after_ms: u64,
    /// Less than this share of the disk under the store is free.
    pub disk_free_percent: u8,
    /// Less than this is free there.
    pub disk_free_bytes: u64,
    /// This machine's clock and that of whoever signs differ by so much.
    pub clock_skew_ms: u64,
}

impl Default for AlarmSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            check_interval_ms: 15_000,
            resolve_after_ms: 300_000,
            dead_deliveries: 1,
            dead_deliveries_window_ms: 3_600_000,
            oldest_undelivered_ms: 900_000,
            breaker_open_ms: 60_000,
            rejected_per_minute: 30,
            not_stored_per_minute: 1,
            silence_baseline_events: 30,
            silence_baseline_min_ms: 1_800_000,
            silence_after_ms: 0,
            disk_free_percent: 5,
            disk_free_bytes: 1_000_000_000,
            clock_skew_ms: 60_000,
        }
    }
}

impl AlarmSettings {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !(100..=3_600_000).contains(&self.check_interval_ms) {
            return Err(ConfigError::invalid("alarms.check_interval_ms", "it must be 100 to 3600000 ms"));
        }
        if self.dead_deliveries > 1_000 {
            return Err(ConfigError::invalid(
                "alarms.dead_deliveries",
                "it must be 0 (off) to 1000: no more of a handler's dead letters are looked at",
            ));
        }
        if self.disk_free_percent > 100 {
            return Err(ConfigError::invalid("alarms.disk_free_percent", "it must be 0 (off) to 100"));
        }
        Ok(())
    }
}
