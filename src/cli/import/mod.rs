//! `events import`: stores the events that `events export` printed.
//!
//! Ids ascend in the order of the store, except among requests that arrived at the same time: the index on ids is
//! appended to, and time filters rely on the order. So an event keeps its id only if that id is newer than every id
//! that was in the store before, which holds for all events when the store was empty. Other events get a new id;
//! `--ids` prints both.

mod decoder;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, stderr, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::task::unconstrained;

use self::decoder::{ImportCompany, ImportDecoder, ImportRecord};
use super::output::{self, CliError, CliResult};
use super::{context, keys};
use crate::base::supervise::Supervisor;
use crate::config::{DEFAULT_COMPANY_SLUG, Settings};
use crate::security::signature::Verifier;
use crate::storage::{self, AppendOutcome, EventFilter, Role, Store};

/// Limits of events that are being stored at the same time; these share commits.
const MAX_IN_FLIGHT_EVENTS: usize = 512;
const MAX_IN_FLIGHT_BYTES: usize = 32 * 1024 * 1024;
/// Room in a line for the fields other than the encoded body.
const LINE_OVERHEAD_BYTES: usize = 64 * 1024;
/// The newest id is among this many events that were committed last, since ids are out of order only among concurrent
/// requests, and these are fewer.
const NEWEST_ID_WINDOW: usize = 4_096;
/// Bad lines that are reported one by one; the others are only counted.
const MAX_REPORTED_LINES: usize = 50;

#[derive(Debug, Args)]
pub(super) struct EventsImportArgs {
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

#[derive(Default)]
struct ImportOutcome {
    stored: u64,
    duplicates: u64,
    new_ids: u64,
    bad_lines: u64,
    /// Line number and error of the first [`MAX_REPORTED_LINES`] bad lines.
    line_errors: Vec<(u64, String)>,
}

impl EventsImportArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let (input, size) = open_input(&self.file)?;
        let supervisor = Supervisor::default();
        let store = storage::open(&settings.storage.url, Role::Receiver, &supervisor)
            .map_err(|error| CliError::Message(format!("import needs the store for itself: {error}")))?;
        let latest = store.list_events(EventFilter { limit: Some(NEWEST_ID_WINDOW), ..EventFilter::default() }).await?;
        let newest = latest.iter().map(|event| event.id).max();
        let companies = load_companies(&settings, &*store).await?;
        let decoder = ImportDecoder::new(newest, companies);
        // Base64 encodes three bytes as four characters.
        let max_line_bytes = settings.server.body_limit_bytes.div_ceil(3) * 4 + LINE_OVERHEAD_BYTES;
        let progress = import_progress_bar(size);
        let lines = BoundedLines::new(progress.wrap_read(input), max_line_bytes);
        let outcome = self.import_lines(lines, decoder, &*store).await;
        progress.finish_and_clear();
        supervisor.stop();
        store.close().await?;
        self.print_report(&outcome?)
    }

    async fn import_lines(
        &self,
        mut lines: BoundedLines<impl Read>,
        mut decoder: ImportDecoder,
        store: &dyn Store,
    ) -> Result<ImportOutcome, CliError> {
        let mut outcome = ImportOutcome::default();
        let mut appending = FuturesOrdered::new();
        let mut body_sizes = VecDeque::new();
        let mut bytes_in_flight = 0;
        loop {
            let line = lines.next_line().map_err(|error| stopped_error(lines.line_number, &error))?;
            while !appending.is_empty()
                && (line.is_none() || appending.len() >= MAX_IN_FLIGHT_EVENTS || bytes_in_flight > MAX_IN_FLIGHT_BYTES)
            {
                bytes_in_flight -= body_sizes.pop_front().unwrap_or(0);
                if let Some(appended) = appending.next().await {
                    self.count_appended(&mut outcome, appended)?;
                }
            }
            let record = match line {
                None => return Ok(outcome),
                Some(Err(too_long)) => Err(too_long),
                Some(Ok(line)) if line.trim_ascii().is_empty() => continue,
                Some(Ok(line)) => decoder.decode(&line),
            };
            match record {
                Ok(record) => {
                    bytes_in_flight += record.event.body.len();
                    body_sizes.push_back(record.event.body.len());
                    // `unconstrained`: tokio's cooperative budget would make some of these futures yield, and later
                    // events would reach the store before them. The order of the file must be kept.
                    appending.push_back(unconstrained(append_event(store, record, lines.line_number)));
                }
                Err(error) => outcome.count_bad_line(lines.line_number, error),
            }
        }
    }

    fn count_appended(
        &self,
        outcome: &mut ImportOutcome,
        appended: Result<(AppendOutcome, ImportRecord), CliError>,
    ) -> CliResult {
        let (append_outcome, record) = appended?;
        let (id_in_store, is_new) = match append_outcome {
            AppendOutcome::Stored { .. } => (record.event.id, true),
            AppendOutcome::Duplicate { original_id } => (original_id, false),
        };
        if is_new {
            outcome.stored += 1;
        } else {
            outcome.duplicates += 1;
        }
        let Some(id_in_file) = record.original_id.filter(|id| *id != id_in_store) else { return Ok(()) };
        if is_new {
            outcome.new_ids += 1;
        }
        if self.ids { output::print_line(format!("{id_in_file} {id_in_store}")) } else { Ok(()) }
    }

    fn print_report(&self, outcome: &ImportOutcome) -> CliResult {
        for (line, error) in &outcome.line_errors {
            eprintln!("retell-webhook: line {line}: {error}");
        }
        if outcome.bad_lines > MAX_REPORTED_LINES as u64 {
            eprintln!("retell-webhook: {} more bad lines are not shown", outcome.bad_lines - MAX_REPORTED_LINES as u64);
        }
        let ImportOutcome { stored, duplicates, new_ids, bad_lines, .. } = outcome;
        let summary =
            format!("{stored} stored ({new_ids} under a new id), {duplicates} duplicates, {bad_lines} bad lines");
        if self.json {
            let line_errors: Vec<_> =
                outcome.line_errors.iter().map(|(line, error)| json!({ "line": line, "error": error })).collect();
            output::print_json(&json!({
                "stored": stored,
                "new_ids": new_ids,
                "duplicates": duplicates,
                "bad_lines": bad_lines,
                "line_errors": line_errors,
            }))?;
        } else if self.ids {
            eprintln!("{summary}");
        } else {
            output::print_line(summary)?;
        }
        if outcome.bad_lines == 0 { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

impl ImportOutcome {
    fn count_bad_line(&mut self, line: u64, error: String) {
        self.bad_lines += 1;
        if self.line_errors.len() < MAX_REPORTED_LINES {
            self.line_errors.push((line, error));
        }
    }
}

/// The configured companies and the default company, by slug. The key of a signature can be named for configured keys.
async fn load_companies(settings: &Settings, store: &dyn Store) -> Result<HashMap<String, ImportCompany>, CliError> {
    let configured = settings.companies.iter().map(|company| company.slug.clone());
    let slugs: Vec<_> = configured.chain([DEFAULT_COMPANY_SLUG.to_owned()]).collect();
    let ids = store.get_or_create_company_ids(slugs.clone()).await?;
    let mut companies = HashMap::new();
    for (slug, id) in slugs.into_iter().zip(ids) {
        let keys = keys::company_keys(settings, Some(&slug)).unwrap_or_default();
        let verifier = if keys.is_empty() { None } else { Some(Verifier::new(keys)) };
        companies.insert(slug, ImportCompany { id, verifier });
    }
    Ok(companies)
}

async fn append_event(
    store: &dyn Store,
    record: ImportRecord,
    line: u64,
) -> Result<(AppendOutcome, ImportRecord), CliError> {
    match store.append(record.event.clone()).await {
        Ok(appended) => Ok((appended, record)),
        Err(error) => Err(stopped_error(line, &error)),
    }
}

fn stopped_error(line: u64, error: &dyn std::error::Error) -> CliError {
    CliError::Message(format!(
        "import stopped at line {line}: {error}; solve this and import the same file again: events that are stored \
         already count as duplicates"
    ))
}

/// The input, and its size in bytes if it is a file.
fn open_input(file: &Path) -> Result<(Box<dyn Read>, Option<u64>), CliError> {
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

/// Lines of bounded length, numbered from 1.
struct BoundedLines<R> {
    input: BufReader<R>,
    max_line_bytes: usize,
    line_number: u64,
}

impl<R: Read> BoundedLines<R> {
    fn new(input: R, max_line_bytes: usize) -> Self {
        Self { input: BufReader::with_capacity(256 * 1024, input), max_line_bytes, line_number: 0 }
    }

    /// The next line, or the reason why it is skipped; `None` at the end of the input.
    fn next_line(&mut self) -> std::io::Result<Option<Result<Vec<u8>, String>>> {
        let mut line = Vec::new();
        let read = self.input.by_ref().take(self.max_line_bytes as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.line_number += 1;
        if read < self.max_line_bytes || line.ends_with(b"\n") {
            return Ok(Some(Ok(line)));
        }
        // The rest of the line is skipped without storing it in memory.
        self.input.skip_until(b'\n')?;
        Ok(Some(Err("the body is larger than server.body_limit_bytes".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_counted() {
        let mut lines = BoundedLines::new(&b"one\nfar too long\ntwo\nlast"[..], 6);
        let mut read = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            read.push((lines.line_number, line.map(|line| String::from_utf8(line).unwrap()).ok()));
        }
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read, [(1, text("one\n")), (2, None), (3, text("two\n")), (4, text("last"))]);
    }
}
