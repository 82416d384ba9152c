//! `events import`: what `events export` wrote goes into the store again.
//!
//! Ids ascend with the order in the store, but for requests that came at the same time: its index on them grows at its
//! end, and time filters rely on it. So an event keeps its id where that id is newer than every one that was in the store,
//! as all are when an export is put into an empty one; any other gets a new id, and `--ids` prints both.

mod entry;

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

use self::entry::{Company, Entries, Entry};
use super::output::{self, Done, Failure};
use super::{keys, stores};
use crate::base::supervise::Supervisor;
use crate::config::{DEFAULT_SLUG, Settings};
use crate::security::signature::Verifier;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{Appended, EventFilter, Store};

/// Events and bytes of bodies on their way at once: they share commits.
const IN_FLIGHT: usize = 512;
const IN_FLIGHT_BYTES: usize = 32 * 1024 * 1024;
/// Beyond what a body may have: its encoding, and the rest of the line.
const LINE_SLACK: usize = 64 * 1024;
/// The newest id is among so many that were committed last: more requests than these are never under way at once.
const LATEST: usize = 4_096;
/// Bad lines that are told one by one.
const TOLD: usize = 50;

#[derive(Debug, Args)]
pub(super) struct Import {
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
struct Outcome {
    stored: u64,
    duplicates: u64,
    new_ids: u64,
    bad_lines: u64,
    /// The first of them: number, and why.
    bad: Vec<(u64, String)>,
}

impl Import {
    pub(super) async fn run(self) -> Done {
        let settings = stores::settings()?;
        let (input, size) = open(&self.file)?;
        let url = SqliteUrl::parse(&settings.storage.url)?;
        let supervisor = Supervisor::default();
        let store = SqliteStore::open(&url, &supervisor)
            .map_err(|error| Failure::Because(format!("import writes to the store itself: {error}")))?;
        let latest = store.events(EventFilter { limit: Some(LATEST), ..EventFilter::default() }).await?;
        let newest = latest.iter().map(|event| event.id).max();
        let companies = companies(&settings, &store).await?;
        let entries = Entries::new(newest, companies);
        let limit = settings.server.body_limit_bytes.div_ceil(3) * 4 + LINE_SLACK;
        let progress = progress(size);
        let outcome = self.pump(Lines::new(progress.wrap_read(input), limit), entries, &store).await;
        progress.finish_and_clear();
        supervisor.stop();
        store.close().await?;
        self.report(&outcome?)
    }

    async fn pump(
        &self,
        mut lines: Lines<impl Read>,
        mut entries: Entries,
        store: &SqliteStore,
    ) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let mut appending = FuturesOrdered::new();
        let (mut sizes, mut held) = (VecDeque::new(), 0);
        loop {
            let line = lines.next().map_err(|error| stopped(lines.number, &error))?;
            while !appending.is_empty() && (line.is_none() || appending.len() >= IN_FLIGHT || held > IN_FLIGHT_BYTES) {
                held -= sizes.pop_front().unwrap_or(0);
                if let Some(appended) = appending.next().await {
                    self.note(&mut outcome, appended)?;
                }
            }
            let entry = match line {
                None => return Ok(outcome),
                Some(Err(too_long)) => Err(too_long),
                Some(Ok(line)) if line.trim_ascii().is_empty() => continue,
                Some(Ok(line)) => entries.read(&line),
            };
            match entry {
                Ok(entry) => {
                    held += entry.event.body.len();
                    sizes.push_back(entry.event.body.len());
                    // Made to yield now and then, as tasks are, some would reach the store behind later ones.
                    appending.push_back(unconstrained(append(store, entry, lines.number)));
                }
                Err(why) => outcome.note_bad(lines.number, why),
            }
        }
    }

    fn note(&self, outcome: &mut Outcome, appended: Result<(Appended, Entry), Failure>) -> Done {
        let (appended, entry) = appended?;
        let kept_as = match appended {
            Appended::Stored { .. } => {
                outcome.stored += 1;
                entry.event.id
            }
            Appended::Duplicate { of } => {
                outcome.duplicates += 1;
                of
            }
        };
        let Some(id) = entry.id.filter(|id| *id != kept_as) else { return Ok(()) };
        outcome.new_ids += u64::from(matches!(appended, Appended::Stored { .. }));
        if self.ids { output::line(format!("{id} {kept_as}")) } else { Ok(()) }
    }

    fn report(&self, outcome: &Outcome) -> Done {
        for (line, why) in &outcome.bad {
            eprintln!("retell-webhook: line {line}: {why}");
        }
        if outcome.bad_lines > TOLD as u64 {
            eprintln!("retell-webhook: and {} more bad lines", outcome.bad_lines - TOLD as u64);
        }
        let Outcome { stored, duplicates, new_ids, bad_lines, .. } = outcome;
        let said =
            format!("{stored} stored ({new_ids} under a new id), {duplicates} duplicates, {bad_lines} bad lines");
        if self.json {
            let bad: Vec<_> = outcome.bad.iter().map(|(line, why)| json!({ "line": line, "why": why })).collect();
            output::json(&json!({
                "stored": stored, "new_ids": new_ids, "duplicates": duplicates, "bad_lines": bad_lines, "bad": bad,
            }))?;
        } else if self.ids {
            eprintln!("{said}");
        } else {
            output::line(said)?;
        }
        if outcome.bad_lines == 0 { Ok(()) } else { Err(Failure::Said) }
    }
}

impl Outcome {
    fn note_bad(&mut self, line: u64, why: String) {
        self.bad_lines += 1;
        if self.bad.len() < TOLD {
            self.bad.push((line, why));
        }
    }
}

/// Those of the settings, and the one of the plain route. Whose key it was is known for keys that are configured here.
async fn companies(settings: &Settings, store: &SqliteStore) -> Result<HashMap<String, Company>, Failure> {
    let configured = settings.companies.iter().map(|company| company.slug.clone());
    let slugs: Vec<_> = configured.chain([DEFAULT_SLUG.to_owned()]).collect();
    let ids = store.company_ids(slugs.clone()).await?;
    let company = |(slug, id): (String, i64)| {
        let verifier = keys::of(settings, Some(&slug)).ok().filter(|keys| !keys.is_empty()).map(Verifier::new);
        (slug, Company { id, verifier })
    };
    Ok(slugs.into_iter().zip(ids).map(company).collect())
}

async fn append(store: &SqliteStore, entry: Entry, line: u64) -> Result<(Appended, Entry), Failure> {
    match store.append(entry.event.clone()).await {
        Ok(appended) => Ok((appended, entry)),
        Err(error) => Err(stopped(line, &error)),
    }
}

fn stopped(line: u64, error: &dyn std::error::Error) -> Failure {
    Failure::Because(format!(
        "stopped at line {line}: {error}; import the same file again then: what is stored already counts as a duplicate"
    ))
}

/// The bytes to read, and how many there are where that is known.
fn open(file: &Path) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    if file == Path::new("-") {
        return Ok((Box::new(stdin()), None));
    }
    let failed = |error| Failure::Because(format!("cannot read {}: {error}", file.display()));
    let opened = File::open(file).map_err(failed)?;
    let size = opened.metadata().map_err(failed)?.len();
    Ok((Box::new(opened), Some(size)))
}

fn progress(size: Option<u64>) -> ProgressBar {
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
struct Lines<R> {
    input: BufReader<R>,
    limit: usize,
    number: u64,
}

impl<R: Read> Lines<R> {
    fn new(input: R, limit: usize) -> Self {
        Self { input: BufReader::with_capacity(256 * 1024, input), limit, number: 0 }
    }

    /// The next line, or what is wrong with it; `None` at the end.
    fn next(&mut self) -> std::io::Result<Option<Result<Vec<u8>, String>>> {
        let mut line = Vec::new();
        let read = self.input.by_ref().take(self.limit as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read < self.limit || line.ends_with(b"\n") {
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
        let mut lines = Lines::new(&b"one\nfar too long\ntwo\nlast"[..], 6);
        let mut read = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            read.push((lines.number, line.map(|line| String::from_utf8(line).unwrap()).ok()));
        }
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read, [(1, text("one\n")), (2, None), (3, text("two\n")), (4, text("last"))]);
    }
}
