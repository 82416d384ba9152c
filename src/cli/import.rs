//! `events import`: what `events export` wrote goes into the store again.
//!
//! Ids ascend with the order in the store, but for requests that came at the same time: its index on them grows at its
//! end, and time filters rely on it. So an event keeps its id where that id is newer than every one that was in the store,
//! as all are when an export is put into an empty one; any other gets a new id, and `--ids` prints both.

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
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{AppendOutcome, EventFilter, Store};

/// Events and bytes of bodies on their way at once: they share commits.
const MAX_IN_FLIGHT_EVENTS: usize = 512;
const MAX_IN_FLIGHT_BYTES: usize = 32 * 1024 * 1024;
/// Beyond what a body may have: its encoding, and the rest of the line.
const LINE_OVERHEAD_BYTES: usize = 64 * 1024;
/// The newest id is among so many that were committed last: more requests than these are never under way at once.
const NEWEST_ID_WINDOW: usize = 4_096;
/// Bad lines that are told one by one.
const MAX_REPORTED_LINES: usize = 50;

#[derive(Debug, Args)]
pub(super) struct EventsImportArgs {
    /// Lines of `events export` (`-` for standard input)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print `<id in the file> <id in this store>` for each event that got another id
    #[arg(long, conflicts_with = "json")]
    ids: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// What became of the lines.
#[derive(Default)]
struct ImportOutcome {
    stored: u64,
    duplicates: u64,
    new_ids: u64,
    bad_lines: u64,
    /// The first of them: number, and why.
    line_errors: Vec<(u64, String)>,
}

impl EventsImportArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let (input, size) = open_input(&self.file)?;
        let url = SqliteUrl::parse(&settings.storage.url)?;
        let supervisor = Supervisor::default();
        let store = SqliteStore::open(&url, &supervisor)
            .map_err(|error| CliError::Message(format!("import writes to the store itself: {error}")))?;
        let latest = store.list_events(EventFilter { limit: Some(NEWEST_ID_WINDOW), ..EventFilter::default() }).await?;
        let newest = latest.iter().map(|event| event.id).max();
        let companies = load_companies(&settings, &store).await?;
        let entries = ImportDecoder::new(newest, companies);
        let limit = settings.server.body_limit_bytes.div_ceil(3) * 4 + LINE_OVERHEAD_BYTES;
        let progress = import_progress_bar(size);
        let outcome = self.import_lines(BoundedLines::new(progress.wrap_read(input), limit), entries, &store).await;
        progress.finish_and_clear();
        supervisor.stop();
        store.close().await?;
        self.print_report(&outcome?)
    }

    async fn import_lines(
        &self,
        mut lines: BoundedLines<impl Read>,
        mut entries: ImportDecoder,
        store: &SqliteStore,
    ) -> Result<ImportOutcome, CliError> {
        let mut outcome = ImportOutcome::default();
        let mut appending = FuturesOrdered::new();
        let (mut sizes, mut held) = (VecDeque::new(), 0);
        loop {
            let line = lines.next_line().map_err(|error| stopped_error(lines.line_number, &error))?;
            while !appending.is_empty()
                && (line.is_none() || appending.len() >= MAX_IN_FLIGHT_EVENTS || held > MAX_IN_FLIGHT_BYTES)
            {
                held -= sizes.pop_front().unwrap_or(0);
                if let Some(appended) = appending.next().await {
                    self.count_appended(&mut outcome, appended)?;
                }
            }
            let entry = match line {
                None => return Ok(outcome),
                Some(Err(too_long)) => Err(too_long),
                Some(Ok(line)) if line.trim_ascii().is_empty() => continue,
                Some(Ok(line)) => entries.decode(&line),
            };
            match entry {
                Ok(entry) => {
                    held += entry.event.body.len();
                    sizes.push_back(entry.event.body.len());
                    // Made to yield now and then, as tasks are, some would reach the store behind later ones.
                    appending.push_back(unconstrained(append_event(store, entry, lines.line_number)));
                }
                Err(why) => outcome.count_bad_line(lines.line_number, why),
            }
        }
    }

    fn count_appended(
        &self,
        outcome: &mut ImportOutcome,
        appended: Result<(AppendOutcome, ImportRecord), CliError>,
    ) -> CliResult {
        let (appended, entry) = appended?;
        let kept_as = match appended {
            AppendOutcome::Stored { .. } => {
                outcome.stored += 1;
                entry.event.id
            }
            AppendOutcome::Duplicate { original_id: of } => {
                outcome.duplicates += 1;
                of
            }
        };
        let Some(id) = entry.original_id.filter(|id| *id != kept_as) else { return Ok(()) };
        outcome.new_ids += u64::from(matches!(appended, AppendOutcome::Stored { .. }));
        if self.ids { output::print_line(format!("{id} {kept_as}")) } else { Ok(()) }
    }

    fn print_report(&self, outcome: &ImportOutcome) -> CliResult {
        for (line, why) in &outcome.line_errors {
            eprintln!("retell-webhook: line {line}: {why}");
        }
        if outcome.bad_lines > MAX_REPORTED_LINES as u64 {
            eprintln!("retell-webhook: and {} more bad lines", outcome.bad_lines - MAX_REPORTED_LINES as u64);
        }
        let ImportOutcome { stored, duplicates, new_ids, bad_lines, .. } = outcome;
        let said =
            format!("{stored} stored ({new_ids} under a new id), {duplicates} duplicates, {bad_lines} bad lines");
        if self.json {
            let bad: Vec<_> =
                outcome.line_errors.iter().map(|(line, why)| json!({ "line": line, "why": why })).collect();
            output::print_json(&json!({
                "stored": stored, "new_ids": new_ids, "duplicates": duplicates, "bad_lines": bad_lines, "bad": bad,
            }))?;
        } else if self.ids {
            eprintln!("{said}");
        } else {
            output::print_line(said)?;
        }
        if outcome.bad_lines == 0 { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

impl ImportOutcome {
    fn count_bad_line(&mut self, line: u64, why: String) {
        self.bad_lines += 1;
        if self.line_errors.len() < MAX_REPORTED_LINES {
            self.line_errors.push((line, why));
        }
    }
}

/// Those of the settings, and the one of the plain route. Whose key it was is known for keys that are configured here.
async fn load_companies(settings: &Settings, store: &SqliteStore) -> Result<HashMap<String, ImportCompany>, CliError> {
    let configured = settings.companies.iter().map(|company| company.slug.clone());
    let slugs: Vec<_> = configured.chain([DEFAULT_COMPANY_SLUG.to_owned()]).collect();
    let ids = store.get_or_create_company_ids(slugs.clone()).await?;
    let company = |(slug, id): (String, i64)| {
        let verifier =
            keys::company_keys(settings, Some(&slug)).ok().filter(|keys| !keys.is_empty()).map(Verifier::new);
        (slug, ImportCompany { id, verifier })
    };
    Ok(slugs.into_iter().zip(ids).map(company).collect())
}

async fn append_event(
    store: &SqliteStore,
    entry: ImportRecord,
    line: u64,
) -> Result<(AppendOutcome, ImportRecord), CliError> {
    match store.append(entry.event.clone()).await {
        Ok(appended) => Ok((appended, entry)),
        Err(error) => Err(stopped_error(line, &error)),
    }
}

fn stopped_error(line: u64, error: &dyn std::error::Error) -> CliError {
    CliError::Message(format!(
        "stopped at line {line}: {error}; import the same file again then: what is stored already counts as a duplicate"
    ))
}

/// The bytes to read, and how many there are where that is known.
fn open_input(file: &Path) -> Result<(Box<dyn Read>, Option<u64>), CliError> {
    if file == Path::new("-") {
        return Ok((Box::new(stdin()), None));
    }
    let failed = |error| CliError::Message(format!("cannot read {}: {error}", file.display()));
    let opened = File::open(file).map_err(failed)?;
    let size = opened.metadata().map_err(failed)?.len();
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
    fn new(input: R, limit: usize) -> Self {
        Self { input: BufReader::with_capacity(256 * 1024, input), max_line_bytes: limit, line_number: 0 }
    }

    /// The next line, or what is wrong with it; `None` at the end.
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
        self.input.skip_until(b'\n')?;
        Ok(Some(Err("its body is larger than server.body_limit_bytes".to_owned())))
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
