//! `events import`: stores the events that `events export` printed.

use std::fs::File;
use std::io::{IsTerminal, Read, stderr, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::base::clock::Clock;
use crate::cli::context;
use crate::cli::output::{self, CliError, CliResult};
use crate::operations::import::{ImportProgress, MAX_REPORTED_LINES, import_events};
use crate::view::ImportView;

#[derive(Debug, Args)]
pub(in crate::cli) struct EventsImportArgs {
    /// File with the output of `events export`; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print `<id in the file> <id in this store>` per event that got a new id
    #[arg(long, conflicts_with = "json")]
    ids: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl EventsImportArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let (input, size) = open_input(&self.file)?;
        let bar = import_progress_bar(size);
        let mut printed = Ok(());
        let mut on_progress = |progress| match progress {
            ImportProgress::Read(bytes) => bar.set_position(bytes),
            ImportProgress::OtherId { in_file, in_store } if self.ids && printed.is_ok() => {
                printed = output::print_line(format!("{in_file} {in_store}"));
            }
            ImportProgress::OtherId { .. } => {}
        };
        let clock = Clock::system();
        let open_store = |supervisor: &_| context::open_store_exclusively(&settings, supervisor);
        let import = import_events(&settings, &clock, context::PRINCIPAL, open_store, input, &mut on_progress);
        let result = import.await;
        bar.finish_and_clear();
        let result = result?;
        printed?;
        self.print_result(&result)
    }

    fn print_result(&self, result: &ImportView) -> CliResult {
        for bad in &result.line_errors {
            output::print_error(format!("retell-webhook: line {}: {}", bad.line, bad.error));
        }
        if result.bad_lines > MAX_REPORTED_LINES as u64 {
            output::print_error(format!(
                "retell-webhook: {} more bad lines are not shown",
                result.bad_lines - MAX_REPORTED_LINES as u64
            ));
        }
        let ImportView { stored, duplicates, new_ids, bad_lines, .. } = result;
        let summary =
            format!("{stored} stored ({new_ids} under a new id), {duplicates} duplicates, {bad_lines} bad lines");
        if self.json {
            output::print_json(result)?;
        } else if self.ids {
            output::print_error(summary);
        } else {
            output::print_line(summary)?;
        }
        if *bad_lines == 0 { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

/// The input, and its size in bytes if it is a file.
fn open_input(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), CliError> {
    if file == Path::new("-") {
        return Ok((Box::new(stdin()), None));
    }
    let read_error = |error| CliError::Message(format!("cannot read {}: {error}", file.display()));
    let opened = File::open(file).map_err(read_error)?;
    let size = opened.metadata().map_err(read_error)?.len();
    Ok((Box::new(opened), Some(size)))
}

fn import_progress_bar(size: Option<u64>) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{wide_bar} {percent} % of {total_bytes}, {bytes_per_sec}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} read, {bytes_per_sec}, {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
