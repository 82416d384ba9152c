use serde::{Deserialize, Serialize};

use super::{CompanySettings, ConfigError};

/// A century.
const MAX_RETENTION_DAYS: u32 = 36_500;
/// An empty store with its first events takes about this much.
const MIN_STORE_BYTES: u64 = 1024 * 1024;

/// How many days each kind of data is kept. `None` (unset) and 0 mean for ever; a company's own 0 too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RetentionDays {
    /// Events with their bodies, and with them their deliveries and attempts. Those whose deliveries are not finished stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_days: Option<u32>,
    /// Finished deliveries (succeeded, dead, skipped) with their attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries_days: Option<u32>,
    /// Attempts of finished deliveries: errors and answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_days: Option<u32>,
    /// Rows of calls and chats, counted from their last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_days: Option<u32>,
    /// Refused requests; the latest 1000 at most in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_days: Option<u32>,
}

/// `[retention]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RetentionSettings {
    // Not `#[serde(flatten)]`: it would take every unknown key for one of its own.
    /// See [`RetentionDays`].
    pub events_days: Option<u32>,
    /// See [`RetentionDays`].
    pub deliveries_days: Option<u32>,
    /// See [`RetentionDays`].
    pub attempts_days: Option<u32>,
    /// See [`RetentionDays`].
    pub calls_days: Option<u32>,
    /// See [`RetentionDays`].
    pub rejected_days: Option<u32>,
    /// Of the whole store: past it the oldest events go, whosever they are.
    pub max_bytes: Option<u64>,
}

impl RetentionSettings {
    /// What holds for companies without settings of their own.
    #[must_use]
    pub fn days(&self) -> RetentionDays {
        RetentionDays {
            events_days: self.events_days,
            deliveries_days: self.deliveries_days,
            attempts_days: self.attempts_days,
            calls_days: self.calls_days,
            rejected_days: self.rejected_days,
        }
    }
}

impl RetentionDays {
    /// Each with the name of its key.
    #[must_use]
    pub fn by_key(&self) -> [(&'static str, Option<u32>); 5] {
        [
            ("events_days", self.events_days),
            ("deliveries_days", self.deliveries_days),
            ("attempts_days", self.attempts_days),
            ("calls_days", self.calls_days),
            ("rejected_days", self.rejected_days),
        ]
    }
}

/// Refuses spans nobody means, and a size no store fits in.
pub(super) fn validate(settings: &RetentionSettings, companies: &[CompanySettings]) -> Result<(), ConfigError> {
    validate_days("retention", &settings.days())?;
    for (position, company) in companies.iter().enumerate() {
        if let Some(days) = &company.retention {
            validate_days(&format!("companies[{position}].retention"), days)?;
        }
    }
    match settings.max_bytes {
        Some(bytes) if bytes < MIN_STORE_BYTES => {
            Err(ConfigError::invalid("retention.max_bytes", format!("it must be at least {MIN_STORE_BYTES}, or unset")))
        }
        _ => Ok(()),
    }
}

fn validate_days(section: &str, days: &RetentionDays) -> Result<(), ConfigError> {
    match days.by_key().into_iter().find(|(_, days)| days.is_some_and(|days| days > MAX_RETENTION_DAYS)) {
        Some((key, _)) => Err(ConfigError::invalid(
            &format!("{section}.{key}"),
            format!("it must be 1 to {MAX_RETENTION_DAYS} days; 0 or unset keeps for ever"),
        )),
        None => Ok(()),
    }
}
