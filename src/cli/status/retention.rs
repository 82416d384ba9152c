//! The configured retention, as `status` prints it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::output;
use crate::config::{RetentionDays, Settings};

/// `events 90 days, calls 365 days; 2 companies differ`, or `forever`.
pub(super) fn format_text(settings: &Settings) -> String {
    let days = settings.retention.days().by_key().into_iter().filter(|(_, days)| days.is_some_and(|days| days > 0));
    let mut parts: Vec<String> = days
        .map(|(key, days)| format!("{} {} days", key.trim_end_matches("_days"), days.unwrap_or_default()))
        .collect();
    parts.extend(settings.retention.max_bytes.map(|bytes| format!("at most {}", output::format_bytes(bytes))));
    let text = if parts.is_empty() { "forever".to_owned() } else { parts.join(", ") };
    match settings.companies.iter().filter(|company| company.retention.is_some()).count() {
        0 => text,
        1 => format!("{text}; 1 company differs"),
        more => format!("{text}; {more} companies differ"),
    }
}

/// The settings of `[retention]`, and those of companies by slug.
pub(super) fn to_json(settings: &Settings) -> Value {
    let companies: BTreeMap<&String, &RetentionDays> =
        settings.companies.iter().filter_map(|company| Some((&company.slug, company.retention.as_ref()?))).collect();
    json!({ "default": settings.retention, "companies": companies })
}
