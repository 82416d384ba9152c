use std::io::{self, BufWriter, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::context;
use crate::cli::output::{self, CliError, CliResult};
use crate::operations::events::EventExport;
use crate::storage::EventFilter;

pub(super) async fn export_events(filter: EventFilter) -> CliResult {
    let store = context::open_store()?;
    let progress = export_progress_bar();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut export = EventExport::new(filter);
    let mut has_unreadable = false;
    while let Some(batch) = export.next_batch(&*store).await? {
        for event in &batch.events {
            let line = output::json_line(event)?;
            if let Err(error) = writeln!(out, "{line}") {
                return output::ignore_broken_pipe(Err(error));
            }
        }
        for event in &batch.unreadable {
            output::print_error(format!("retell-webhook: event {} was not exported: {}", event.id, event.reason));
            has_unreadable = true;
        }
        progress.inc((batch.events.len() + batch.unreadable.len()) as u64);
    }
    progress.finish_and_clear();
    output::ignore_broken_pipe(out.flush())?;
    if has_unreadable { Err(CliError::AlreadyPrinted) } else { Ok(()) }
}

/// A counter on stderr, unless stderr is not a terminal or the events are printed to the terminal as well.
fn export_progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {human_pos} events exported, {per_sec}, {elapsed}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
