//! The configured retention, as `status` prints it.

use crate::cli::output;
use crate::view::RetentionView;

/// `events 90 days, calls 365 days; 2 companies differ`, or `forever`.
pub(super) fn format_text(retention: &RetentionView) -> String {
    let days = retention.default.days().by_key().into_iter().filter(|(_, days)| days.is_some_and(|days| days > 0));
    let mut parts: Vec<String> = days
        .map(|(key, days)| format!("{} {} days", key.trim_end_matches("_days"), days.unwrap_or_default()))
        .collect();
    parts.extend(retention.default.max_bytes.map(|bytes| format!("at most {}", output::format_bytes(bytes))));
    let text = if parts.is_empty() { "forever".to_owned() } else { parts.join(", ") };
    match retention.companies.len() {
        0 => text,
        1 => format!("{text}; 1 company differs"),
        more => format!("{text}; {more} companies differ"),
    }
}
