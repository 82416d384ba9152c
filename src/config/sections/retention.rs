use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{CompanySettings, FieldError};

/// A century. A larger number is most likely a mistake in the unit.
const MAX_RETENTION_DAYS: u32 = 36_500;
/// An empty store with its first events takes about this much.
const MIN_STORE_BYTES: u64 = 1024 * 1024;

/// Number of days each kind of data is kept for one company. Unset: the value of `[retention]`; 0: without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct RetentionDays {
    /// Replaces `retention.events_days` for this company.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &30)]
    pub events_days: Option<u32>,
    /// Replaces `retention.deliveries_days` for this company.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &30)]
    pub deliveries_days: Option<u32>,
    /// Replaces `retention.attempts_days` for this company.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &30)]
    pub attempts_days: Option<u32>,
    /// Replaces `retention.calls_days` for this company.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &365)]
    pub calls_days: Option<u32>,
    /// Replaces `retention.rejected_days` for this company.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &7)]
    pub rejected_days: Option<u32>,
}

/// `[retention]`: how long stored data is kept. Every key that is unset or 0 keeps its data without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct RetentionSettings {
    // Not `#[serde(flatten)]`: it would accept every unknown key silently.
    /// Days an event is kept with its body, its deliveries and their attempts. An event with an unfinished delivery
    /// is kept until that delivery is finished.
    #[schemars(example = &90)]
    pub events_days: Option<u32>,
    /// Days a finished delivery (succeeded, dead, skipped) is kept with its attempts, unless its event is deleted
    /// before.
    #[schemars(example = &30)]
    pub deliveries_days: Option<u32>,
    /// Days the attempts of a finished delivery, with their errors and response excerpts, are kept, unless the
    /// delivery is deleted before.
    #[schemars(example = &30)]
    pub attempts_days: Option<u32>,
    /// Days the row of a call or chat is kept after its last event.
    #[schemars(example = &365)]
    pub calls_days: Option<u32>,
    /// Days a rejected request is kept. At most the latest 1000 are kept in any case.
    #[schemars(example = &30)]
    pub rejected_days: Option<u32>,
    /// Bytes the whole store may use, at least 1048576. Above it the oldest events are deleted first, regardless of
    /// their age and company.
    #[schemars(example = &50_000_000_000_u64)]
    pub max_bytes: Option<u64>,
}

impl RetentionSettings {
    /// The days for companies that have no `retention` table.
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
    /// Each number of days with the name of its key.
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

/// Refuses periods that are longer than a century, and a size in which no store fits.
pub(in crate::config) fn validate(
    settings: &RetentionSettings,
    companies: &[CompanySettings],
) -> Result<(), FieldError> {
    validate_days("retention", &settings.days())?;
    for (position, company) in companies.iter().enumerate() {
        if let Some(days) = &company.retention {
            validate_days(&format!("companies[{position}].retention"), days)?;
        }
    }
    match settings.max_bytes {
        Some(bytes) if bytes < MIN_STORE_BYTES => Err(FieldError::new(
            "retention.max_bytes",
            format!("{bytes} bytes hold no store; set at least {MIN_STORE_BYTES}, or unset it"),
        )),
        _ => Ok(()),
    }
}

fn validate_days(section: &str, days: &RetentionDays) -> Result<(), FieldError> {
    for (key, days) in days.by_key() {
        if let Some(days) = days.filter(|days| *days > MAX_RETENTION_DAYS) {
            let why =
                format!("{days} days is out of range; expected 1 to {MAX_RETENTION_DAYS}, 0 or unset for no limit");
            return Err(FieldError::new(format!("{section}.{key}"), why));
        }
    }
    Ok(())
}
