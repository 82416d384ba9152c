//! Output of the commands: tables and fields for people, JSON for scripts. A closed pipe is not an error.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;

use super::table::TextTable;
use super::terminal;
pub(super) use crate::base::escape::escape_text;
use crate::base::escape::{escape_json, escape_lines};
use crate::operations::ItemKind;
use crate::operations::OperationError;
pub(super) use crate::operations::text::format_bytes;

/// A failure that ends the command with exit code 1.
#[derive(Debug)]
pub(super) enum CliError {
    /// The output already says what is wrong; nothing more is printed.
    AlreadyPrinted,
    /// The message is printed on stderr.
    Message(String),
}

impl<E: std::error::Error + 'static> From<E> for CliError {
    fn from(error: E) -> Self {
        let error: &(dyn std::error::Error + 'static) = &error;
        let hint = error.downcast_ref().and_then(command_hint);
        Self::Message(hint.map_or_else(|| error.to_string(), |hint| format!("{error}; {hint}")))
    }
}

/// The command or option that helps after an error of an operation.
fn command_hint(error: &OperationError) -> Option<&'static str> {
    match error {
        OperationError::NotFound { kind, .. } => match kind {
            ItemKind::Appointment => Some("`retell-webhook appointments list` prints the upcoming ones"),
            ItemKind::Event => Some("`retell-webhook events list` prints the ids"),
            ItemKind::Call => Some("`retell-webhook calls list` prints the ids"),
            ItemKind::Chat => Some("`retell-webhook chats list` prints the ids"),
            ItemKind::Function => Some("`retell-webhook functions list` prints the functions"),
            ItemKind::Handler => Some("`retell-webhook status` lists the handlers"),
            ItemKind::RejectedRequest => {
                Some("`retell-webhook rejected list` prints the ids (the latest 1000 are kept)")
            }
            ItemKind::Invocation => Some("`retell-webhook functions calls` prints the ids"),
            ItemKind::Body | ItemKind::Company | ItemKind::Key => None,
        },
        OperationError::NotConfirmed(_) => Some("if it is yours, add --yes-really --i-own-this-server"),
        OperationError::PlaceTaken(_) => {
            Some("add --move-aside to rename its files, or set storage.url to another path")
        }
        OperationError::Ambiguous { .. } => Some("add --company SLUG"),
        _ => None,
    }
}

pub(super) type CliResult = Result<(), CliError>;

/// Prints a line, or several if the text has line feeds: [`escape_text`] escapes those of texts from outside. A reader such
/// as `head` may close the pipe early; that is not a failure.
pub(super) fn print_line(text: impl Display) -> CliResult {
    ignore_broken_pipe(writeln!(io::stdout().lock(), "{}", escape_lines(&text.to_string())))
}

/// Prints a message on stderr.
pub(super) fn print_error(text: impl Display) {
    eprintln!("{}", escape_lines(&text.to_string()));
}

/// Prints the bytes of a body as they are, or escaped when they are for a terminal.
pub(super) fn print_body(body: &[u8]) -> CliResult {
    let mut stdout = io::stdout().lock();
    ignore_broken_pipe(if stdout.is_terminal() {
        stdout.write_all(escape_json(&String::from_utf8_lossy(body)).as_bytes())
    } else {
        stdout.write_all(body)
    })
}

/// Turns a failed write into an error, unless the reader closed the pipe.
pub(super) fn ignore_broken_pipe(result: io::Result<()>) -> CliResult {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::Message(format!("cannot write the output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints one JSON value, indented.
pub(super) fn print_json(value: &impl Serialize) -> CliResult {
    print_line(escape_json(&serde_json::to_string_pretty(value)?))
}

/// One JSON value on one line.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(escape_json(&serde_json::to_string(value)?).into_owned())
}

/// A JSON string as plain text, and any other value as JSON on one line.
pub(super) fn json_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Prints a table, or the text `empty` when it would have no rows.
pub(super) fn print_table(header: &[&str], rows: Vec<Vec<String>>, empty: &str) -> CliResult {
    if rows.is_empty() {
        return print_line(empty);
    }
    let escape_row = |row: Vec<String>| row.iter().map(|cell| escape_text(cell).into_owned()).collect();
    let table = TextTable::new(header, rows.into_iter().map(escape_row).collect());
    table.into_lines(terminal::columns()).into_iter().try_for_each(print_line)
}

/// Prints one `name  value` line per field that has a value, with the values aligned.
pub(super) fn print_fields(fields: &[(&str, Option<String>)]) -> CliResult {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        if let Some(value) = value {
            print_line(format!("{name:width$}  {}", escape_text(value)))?;
        }
    }
    Ok(())
}

/// Date and time with the zone: `2026-11-21 10:04:05Z` or, with `--local`, `2026-11-21 11:04:05+01:00`.
pub(super) fn format_time(ms: i64) -> String {
    format_time_in(ms, terminal::time_zone())
}

fn format_time_in(ms: i64, zone: TimeZone) -> String {
    let format = if zone == TimeZone::UTC { "%Y-%m-%d %H:%M:%SZ" } else { "%Y-%m-%d %H:%M:%S%:z" };
    match Timestamp::from_millisecond(ms) {
        Ok(time) => time.to_zoned(zone).strftime(format).to_string(),
        Err(_) => ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted() {
        assert_eq!(format_time(1_795_255_200_000), "2026-11-21 10:00:00Z");
        let berlin = format_time_in(1_795_255_200_000, TimeZone::get("Europe/Berlin").unwrap());
        assert_eq!(berlin, "2026-11-21 11:00:00+01:00");
    }
}
