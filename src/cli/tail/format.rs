//! How an event looks in one line.

use std::io::{IsTerminal, stdout};

use super::super::events;
use super::super::output::{self, CliError};
use crate::config::ConfigSources;
use crate::event::Event;
use crate::storage::{EventSummary, StoredEvent};

/// Longest text of a column; what is in it came from outside.
const MAX_COLUMN_CHARS: usize = 64;

/// Whether to use colour.
#[derive(Clone, Copy)]
pub(super) struct LineStyle {
    colour: bool,
}

impl LineStyle {
    /// Colour on a terminal, unless `NO_COLOR` is set or the terminal knows none.
    pub(super) fn from_env() -> Result<Self, CliError> {
        let env = ConfigSources::from_process()?.env;
        let unwanted = env.contains_key("NO_COLOR") || env.get("TERM").is_some_and(|term| term == "dumb");
        Ok(Self { colour: stdout().is_terminal() && !unwanted })
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `2026-11-21 10:04:05  call_ended  call_…  agent_…  8.6 kB  stored, revision  1:23 user_hangup`.
pub(super) fn format_event_line(event: &StoredEvent, style: LineStyle) -> String {
    let summary = &event.summary;
    let size = output::format_bytes(summary.size_bytes);
    let columns = [
        style.paint("2", &output::format_time(summary.received_at_ms)),
        style.paint(event_colour(summary), &format!("{:<18}", format_column(summary.kind.as_deref()))),
        format!("{:<32}", format_column(summary.call_id.as_deref())),
        format!("{:<24}", format_column(summary.agent_id.as_deref())),
        format!("{size:>8}"),
        style.paint(state_colour(summary), &events::state_text(summary)),
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

fn event_colour(summary: &EventSummary) -> &'static str {
    match summary.kind.as_deref().unwrap_or_default() {
        name if name.ends_with("_started") || name.ends_with("_inbound") => "32",
        name if name.ends_with("_ended") => "36",
        name if name.ends_with("_analyzed") => "34",
        name if name.starts_with("alert") => "31",
        _ => "1",
    }
}

fn state_colour(summary: &EventSummary) -> &'static str {
    if summary.state == "unparsed" {
        "31"
    } else if summary.revision_of.is_some() || summary.duplicate_count > 0 {
        "33"
    } else {
        "2"
    }
}

/// How long the call took and why it ended, where the body says so.
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
    fn columns_are_bounded_and_harmless() {
        assert_eq!(format_column(None), "-");
        assert_eq!(format_column(Some("a\u{1b}b")), "a\u{fffd}b");
        assert_eq!(format_column(Some(&"ä".repeat(200))).chars().count(), 65);
    }
}
