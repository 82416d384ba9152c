//! The receipt of an erasure as text and as a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::cli::output::{self, CliError, CliResult};
use crate::view::{ErasedRowsView, ErasureView, ExternalHandlerView};

pub(super) fn print_text(receipt: &ErasureView) -> CliResult {
    let ErasedRowsView {
        events,
        body_bytes,
        cancelled_deliveries,
        attempts,
        calls,
        rejected,
        invocations,
        appointments,
    } = receipt.erased;
    output::print_line(if receipt.dry_run { "to erase:" } else { "erased:" })?;
    let count = |count: u64| Some(count.to_string());
    output::print_fields(&[
        ("events", Some(format!("{events} ({} of bodies)", output::format_bytes(body_bytes)))),
        ("calls and chats", count(calls)),
        ("deliveries cancelled", count(cancelled_deliveries)),
        ("attempts", count(attempts)),
        ("rejected requests", count(rejected)),
        ("function invocations", count(invocations)),
        ("appointments", count(appointments)),
        ("log lines", count(receipt.lines.log_lines)),
        ("file handler lines", count(receipt.lines.file_lines)),
    ])?;
    if !receipt.found {
        output::print_line("no data of this person was found; check the number or the id, and --company")?;
    }
    problems(receipt).iter().try_for_each(|problem| output::print_line(format!("NOT ERASED: {problem}")))?;
    output::print_line("not reached:")?;
    for ExternalHandlerView { handler, kind, events } in &receipt.not_reached.handlers {
        output::print_line(format!(
            "  what handler `{}` ({kind}) delivered: {events} events",
            output::escape_text(handler)
        ))?;
    }
    for backup in &receipt.not_reached.backups {
        let folder = output::escape_text(&backup.folder);
        output::print_line(format!("  the backup {folder}; restoring it erases the person again"))?;
    }
    receipt.not_reached.elsewhere.iter().try_for_each(|copy| output::print_line(format!("  {copy}")))?;
    if receipt.dry_run { output::print_line("nothing was erased; add --yes to erase it") } else { Ok(()) }
}

fn problems(receipt: &ErasureView) -> Vec<String> {
    if receipt.dry_run {
        return Vec::new();
    }
    let not_erased = &receipt.not_erased;
    let mut problems = not_erased.failed_files.clone();
    problems.extend(not_erased.unsearchable_files.iter().map(|file| format!("not searched: {file}")));
    if !not_erased.store_files_clear {
        problems.push(
            "a copy remains in the write-ahead log, because other processes kept reading the store: run it again"
                .into(),
        );
    }
    if let Some(error) = &not_erased.not_logged {
        problems.push(format!("the erasure log: {error}; run it again"));
    }
    if not_erased.running_attempts > 0 {
        problems.push(format!(
            "{} attempts were still running: run it again after they have ended",
            not_erased.running_attempts
        ));
    }
    if not_erased.unreadable_bodies > 0 {
        problems.push(format!(
            "{} bodies could not be read, so they were not searched for the person",
            not_erased.unreadable_bodies
        ));
    }
    problems
}

/// Creates the file, readable by this user only; an existing file is never overwritten.
pub(super) fn write_to_file(receipt: &ErasureView, path: Option<&Path>) -> CliResult {
    let Some(path) = path else { return Ok(()) };
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let text = format!("{}\n", serde_json::to_string_pretty(receipt)?);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| CliError::Message(format!("cannot write the receipt to {}: {error}", path.display())))
}
