//! Formats an event as one line.

use std::io::{IsTerminal, stdout};

use super::state_text;
use crate::cli::context;
use crate::cli::output::{self, CliError};
use crate::cli::terminal;
use crate::view::{EventStateView, EventView, TailedEventView};

/// Characters of a column; its text comes from outside and has no limit.
const MAX_COLUMN_CHARS: usize = 64;

/// Terminals narrower than this get the compact line, which fits 80 columns.
const MIN_WIDE_COLUMNS: usize = 120;
/// Characters of a call id in the compact line.
const COMPACT_ID_CHARS: usize = 20;

#[derive(Clone, Copy)]
pub(super) struct LineStyle {
    use_color: bool,
    /// The width of a terminal that is too narrow for the wide line.
    compact_columns: Option<usize>,
}

impl LineStyle {
    /// Colors are used on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`. The output of a pipe is always wide.
    pub(super) fn from_env() -> Result<Self, CliError> {
        let env = context::config_sources()?.env;
        let is_disabled = env.contains_key("NO_COLOR") || env.get("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = stdout().is_terminal();
        let compact_columns = terminal::columns().filter(|columns| *columns < MIN_WIDE_COLUMNS);
        Ok(Self { use_color: is_terminal && !is_disabled, compact_columns })
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.use_color && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `2026-11-21 10:04:05Z  call_ended  call_…  agent_…  8.6 kB  stored, revision  1:23 user_hangup`, or the compact line
/// on a narrow terminal.
pub(super) fn format_event_line(event: &TailedEventView, style: LineStyle) -> String {
    let summary = &event.event;
    if let Some(columns) = style.compact_columns {
        return format_compact_line(event, style, columns);
    }
    let size = output::format_bytes(summary.size_bytes);
    let columns = [
        style.paint("2", &output::format_time(summary.received_at_ms)),
        style.paint(event_color(summary), &format!("{:<18}", format_column(summary.event.as_deref()))),
        format!("{:<37}", format_column(summary.call_id.as_deref())),
        format!("{:<32}", format_column(summary.agent_id.as_deref())),
        format!("{size:>8}"),
        style.paint(state_color(summary), &state_text(summary)),
        format_call_details(event),
    ];
    columns.join("  ").trim_end().to_owned()
}

/// `10:04:05Z  call_ended          call_7c41d…e1f0a92d6   8.6 kB  1:23 user_hangup`: without date and agent, the call id
/// shortened, and the state only when it is not simply `stored`.
fn format_compact_line(event: &TailedEventView, style: LineStyle, columns: usize) -> String {
    let summary = &event.event;
    let time = output::format_time(summary.received_at_ms);
    let time = time.split(' ').next_back().unwrap_or_default();
    let kind = truncate_end(&format_column(summary.event.as_deref()), 18);
    let call_id = truncate_middle(&format_column(summary.call_id.as_deref()), COMPACT_ID_CHARS);
    let size = output::format_bytes(summary.size_bytes);
    let state = Some(state_text(summary)).filter(|state| state != "stored");
    let details = Some(format_call_details(event)).filter(|details| !details.is_empty());
    let rest = state.into_iter().chain(details).collect::<Vec<_>>().join("  ");
    let fixed = time.len() + 2 + 18 + 2 + COMPACT_ID_CHARS + 2 + 8 + 2;
    let parts = [
        style.paint("2", time),
        style.paint(event_color(summary), &format!("{kind:<18}")),
        format!("{call_id:<COMPACT_ID_CHARS$}"),
        format!("{size:>8}"),
        style.paint(state_color(summary), &truncate_end(&rest, columns.saturating_sub(fixed))),
    ];
    parts.join("  ").trim_end().to_owned()
}

fn truncate_end(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max_chars.saturating_sub(1)).collect();
    kept + "…"
}

/// Keeps the beginning, which names the kind of id, and the end, which differs most.
fn truncate_middle(text: &str, max_chars: usize) -> String {
    let length = text.chars().count();
    if length <= max_chars {
        return text.to_owned();
    }
    let head = max_chars / 2;
    let tail = max_chars - head - 1;
    let beginning: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{beginning}…{end}")
}

fn format_column(text: Option<&str>) -> String {
    let text = output::escape_text(text.unwrap_or("-")).into_owned();
    match text.char_indices().nth(MAX_COLUMN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn event_color(summary: &EventView) -> &'static str {
    match summary.event.as_deref().unwrap_or_default() {
        name if name.ends_with("_started") || name.ends_with("_inbound") => "32",
        name if name.ends_with("_ended") => "36",
        name if name.ends_with("_analyzed") => "34",
        name if name.starts_with("alert") => "31",
        _ => "1",
    }
}

fn state_color(summary: &EventView) -> &'static str {
    if summary.state == EventStateView::Unparsed {
        "31"
    } else if summary.revision_of.is_some() || summary.duplicates > 0 {
        "33"
    } else {
        "2"
    }
}

/// Duration and disconnection reason of the call, as far as the body has them.
fn format_call_details(event: &TailedEventView) -> String {
    let duration = event.duration_ms.map(|ms| format!("{}:{:02}", ms / 60_000, (ms / 1000) % 60));
    let reason = event.disconnection_reason.as_ref().map(|reason| format_column(Some(reason)));
    duration.into_iter().chain(reason).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{format_column, truncate_end, truncate_middle};

    #[test]
    fn long_texts_are_shortened_at_the_end_or_in_the_middle() {
        assert_eq!(truncate_end("user_hangup", 11), "user_hangup");
        assert_eq!(truncate_end("user_hangup", 6), "user_…");
        assert_eq!(truncate_middle("call_1", 20), "call_1");
        assert_eq!(truncate_middle("call_7c41d09e5b2f4a86b3e1f0a92d6", 20), "call_7c41d…e1f0a92d6");
        assert_eq!(truncate_middle(&"ä".repeat(32), 20).chars().count(), 20);
    }

    #[test]
    fn columns_are_truncated_and_sanitized() {
        assert_eq!(format_column(None), "-");
        assert_eq!(format_column(Some("a\u{1b}b")), "a\\u{1b}b");
        assert_eq!(format_column(Some(&"ä".repeat(200))).chars().count(), 65);
    }
}
