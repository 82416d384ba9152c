//! Formats an event as one line.

use std::io::{IsTerminal, stdout};

use super::super::events;
use super::super::output::{self, CliError};
use crate::config::ConfigSources;
use crate::event::Event;
use crate::storage::{EventSummary, StoredEvent};

/// Characters of a column; its text comes from outside and has no limit.
const MAX_COLUMN_CHARS: usize = 64;

#[derive(Clone, Copy)]
pub(super) struct LineStyle {
    use_color: bool,
}

impl LineStyle {
    /// Colors are used on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    pub(super) fn from_env() -> Result<Self, CliError> {
        let env = ConfigSources::from_process()?.env;
        let is_disabled = env.contains_key("NO_COLOR") || env.get("TERM").is_some_and(|term| term == "dumb");
        Ok(Self { use_color: stdout().is_terminal() && !is_disabled })
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.use_color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `2026-11-21 10:04:05  call_ended  call_…  agent_…  8.6 kB  stored, revision  1:23 user_hangup`.
pub(super) fn format_event_line(event: &StoredEvent, style: LineStyle) -> String {
    let summary = &event.summary;
    let size = output::format_bytes(summary.size_bytes);
    let columns = [
        style.paint("2", &output::format_time(summary.received_at_ms)),
        style.paint(event_color(summary), &format!("{:<18}", format_column(summary.kind.as_deref()))),
        format!("{:<32}", format_column(summary.call_id.as_deref())),
        format!("{:<24}", format_column(summary.agent_id.as_deref())),
        format!("{size:>8}"),
        style.paint(state_color(summary), &events::state_text(summary)),
        format_call_details(event),
    ];
    columns.join("  ").trim_end().to_owned()
}

fn format_column(text: Option<&str>) -> String {
    let text = output::sanitize(text.unwrap_or("-"));
    match text.char_indices().nth(MAX_COLUMN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn event_color(summary: &EventSummary) -> &'static str {
    match summary.kind.as_deref().unwrap_or_default() {
        name if name.ends_with("_started") || name.ends_with("_inbound") => "32",
        name if name.ends_with("_ended") => "36",
        name if name.ends_with("_analyzed") => "34",
        name if name.starts_with("alert") => "31",
        _ => "1",
    }
}

fn state_color(summary: &EventSummary) -> &'static str {
    if summary.state == "unparsed" {
        "31"
    } else if summary.revision_of.is_some() || summary.duplicate_count > 0 {
        "33"
    } else {
        "2"
    }
}

/// Duration and disconnection reason of the call, as far as the body has them.
fn format_call_details(event: &StoredEvent) -> String {
    let Some(Ok(parsed)) = event.body.as_ref().ok().map(|body| Event::parse(body)) else { return String::new() };
    let Some(call) = parsed.call() else { return String::new() };
    let duration = call.duration_ms.map(|ms| format!("{}:{:02}", ms / 60_000, (ms / 1000) % 60));
    let reason = call.disconnection_reason.as_ref().map(|reason| format_column(Some(reason.as_str())));
    duration.into_iter().chain(reason).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::format_column;

    #[test]
    fn columns_are_truncated_and_sanitized() {
        assert_eq!(format_column(None), "-");
        assert_eq!(format_column(Some("a\u{1b}b")), "a\u{fffd}b");
        assert_eq!(format_column(Some(&"ä".repeat(200))).chars().count(), 65);
    }
}
