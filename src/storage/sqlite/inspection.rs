//! Inspects a store without a receiver's rights: reading only, also while a receiver is running.

use std::fmt;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::bodies::{self, BodyReader};
use super::files::{Inventory, unlocked_files};
use super::readers::ReaderContext;
use super::wal::SyncState;
use super::{SqliteUrl, calls, events, open};
use crate::storage::{InspectionDepth, InspectionProgress, Seq, StoreError, StoreFinding, StoreInspection};

/// Findings of one kind that are listed; further ones are counted.
const MAX_LISTED: usize = 50;
/// Events between two reports of the progress. Each batch is a separate read transaction, so that the log can start over
/// in between.
const EVENTS_PER_BATCH: usize = 500;

const MIB: u64 = 1024 * 1024;
/// Size of the write-ahead log at which the check of a table ends. A check reads in one transaction, which keeps the log
/// from starting over while a receiver writes.
const MAX_WAL_BYTES: u64 = 96 * MIB;
const WAL_SHRINK_TIMEOUT: Duration = Duration::from_secs(1);
const WAL_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Steps of SQLite between two looks at the size of the log: some milliseconds.
const STEPS_PER_WAL_CHECK: i32 = 10_000;

/// Inspects the store at `url`.
pub(in crate::storage) fn inspect(
    url: &SqliteUrl,
    depth: InspectionDepth,
    progress: InspectionProgress,
) -> Result<StoreInspection, StoreError> {
    let inventory = Inventory::read(url)
        .map_err(|error| StoreError::unavailable(format!("cannot list {}: {error}", url.folder().display())))?;
    let mut inspection = StoreInspection { files: inventory.files, ..StoreInspection::default() };
    inspection.findings.extend(inventory.kept);
    inspection.findings.extend(inventory.unknown);
    if !url.path().exists() {
        inspection.findings.extend(missing_database_finding(url, &inspection));
        return Ok(inspection);
    }
    // Before SQLite opens the database, see `lock.rs`.
    let is_in_use = unlocked_files(url).is_empty();
    // While a receiver runs, a checkpoint may be in progress, and a failed sync has stopped it.
    if let Some(reason) = SyncState::of_command(url).rebuild_reason().filter(|_| !is_in_use) {
        let path = url.path().display();
        let text = format!("{path} has to be rebuilt from its log at the next start of the receiver: {reason}");
        inspection.findings.push(StoreFinding::problem(text));
    }
    let reader = match open_for_inspection(url) {
        Ok(reader) => reader,
        Err(error) => {
            inspection.findings.push(StoreFinding::problem(error.to_string()));
            return Ok(inspection);
        }
    };
    if let Err(error) = &reader.ledger {
        inspection.findings.push(StoreFinding::problem(error.to_string()));
    }
    let body_files = bodies::inspect(&reader.bodies.files.folder, &reader.conn, &reader.identity_key);
    match body_files {
        Ok(found) => inspection.findings.extend(found.iter().map(|it| StoreFinding::problem(it.to_string()))),
        Err(error) => inspection.findings.push(StoreFinding::problem(error.to_string())),
    }
    if depth == InspectionDepth::Full {
        inspect_content(url, &reader, &mut inspection, progress);
    }
    Ok(inspection)
}

/// A database that was never created is not a finding.
fn missing_database_finding(url: &SqliteUrl, inspection: &StoreInspection) -> Option<StoreFinding> {
    let example = &inspection.files.first()?.path;
    Some(StoreFinding::problem(format!(
        "{} is missing, but other files of the store exist, such as {example}: put the database back that belongs to \
         them, or move them away",
        url.path().display()
    )))
}

fn open_for_inspection(url: &SqliteUrl) -> Result<ReaderContext, StoreError> {
    open::check_readable(url)?;
    let conn = open::open_reader(url)?;
    let identity_key = open::load_identity_key(&conn)?;
    let ledger = open::attach_ledger(&conn, url);
    Ok(ReaderContext { conn, ledger, bodies: BodyReader::new(url), identity_key, sync: SyncState::of_command(url) })
}

/// Reads everything. What cannot be read is a finding, and the rest is inspected all the same.
fn inspect_content(
    url: &SqliteUrl,
    reader: &ReaderContext,
    inspection: &mut StoreInspection,
    progress: InspectionProgress,
) {
    inspection.findings.extend(check_pages(url, progress));
    if reader.ledger.is_ok() {
        inspection.findings.extend(check_pages(&url.ledger_url(), progress));
    }
    inspection.findings.extend(check_call_totals(url, &reader.conn, progress));
    let mut damaged = Vec::new();
    if let Err(error) = check_bodies(reader, &mut inspection.checked_bodies, &mut damaged, progress) {
        damaged.push(error.to_string());
    }
    inspection.findings.extend(limited_findings(damaged));
}

/// Runs SQLite's own check of each table and its indexes, one read transaction per table.
fn check_pages(url: &SqliteUrl, progress: InspectionProgress) -> Vec<StoreFinding> {
    let path = url.path().display();
    let damaged = |result: &dyn fmt::Display| {
        StoreFinding::problem(format!(
            "{path} is damaged: {result}; stop the receiver and restore the store from a backup"
        ))
    };
    let opened = open::open_reader(url).and_then(|conn| Ok((list_tables(&conn)?, conn)));
    let (tables, mut conn) = match opened {
        Ok(opened) => opened,
        Err(error) => return vec![damaged(&error)],
    };
    let mut findings = Vec::new();
    for (number, table) in tables.iter().enumerate() {
        progress("tables checked", number as u64, tables.len() as u64);
        match check_table(url, &mut conn, table) {
            Ok(TableCheck::Complete(results)) => findings.extend(results.iter().map(|result| damaged(result))),
            Ok(TableCheck::Stopped { wal_bytes }) => findings.push(StoreFinding::warning(format!(
                "the table {table} of {path} was not checked: a receiver is writing, and the check let the write-ahead log \
                 grow to {} MiB; check a backup with `backup verify`, or stop the receiver and repeat the check",
                wal_bytes / MIB
            ))),
            Err(error) => findings.push(damaged(&error)),
        }
    }
    findings.truncate(MAX_LISTED);
    findings
}

fn list_tables(conn: &Connection) -> Result<Vec<String>, StoreError> {
    let mut tables = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let tables = tables.query_map([], |row| row.get(0))?;
    Ok(tables.collect::<Result<_, _>>()?)
}

enum TableCheck {
    Complete(Vec<String>),
    /// The log has grown to its limit: it cannot start over while the check reads.
    Stopped {
        wal_bytes: u64,
    },
}

fn check_table(url: &SqliteUrl, conn: &mut Connection, table: &str) -> Result<TableCheck, StoreError> {
    let wal_path = url.wal_path();
    let wal_bytes = move || std::fs::metadata(&wal_path).map_or(0, |file| file.len());
    // After the check of another table the log starts over with the next write, if there is any.
    let waiting_since = Instant::now();
    while wal_bytes() > MAX_WAL_BYTES && waiting_since.elapsed() < WAL_SHRINK_TIMEOUT {
        std::thread::sleep(WAL_POLL_INTERVAL);
    }
    let limit = MAX_WAL_BYTES.max(wal_bytes() + MAX_WAL_BYTES / 16);
    let is_too_large = {
        let wal_bytes = wal_bytes.clone();
        move || wal_bytes() > limit
    };
    conn.progress_handler(STEPS_PER_WAL_CHECK, Some(is_too_large))?;
    let mut check = conn.prepare(&format!("PRAGMA quick_check('{table}')"))?;
    let results: rusqlite::Result<Vec<String>> = check.query_map([], |row| row.get(0))?.collect();
    match results {
        Ok(results) => Ok(TableCheck::Complete(results.into_iter().filter(|result| result != "ok").collect())),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(TableCheck::Stopped { wal_bytes: wal_bytes() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Compares the totals behind the statistics of calls with the calls.
fn check_call_totals(url: &SqliteUrl, conn: &Connection, progress: InspectionProgress) -> Option<StoreFinding> {
    let mut compare = || {
        let total = calls::estimate_calls(conn)?;
        calls::count_differing_totals(conn, &mut |calls| {
            progress("calls compared with totals", calls, total.max(calls));
        })
    };
    let path = url.path().display();
    match compare() {
        Ok(0) => None,
        Ok(differing) => Some(StoreFinding::problem(format!(
            "{path}: {differing} totals of calls or chats differ from the stored ones, so statistics are wrong; correct them \
             with `calls rebuild-stats`"
        ))),
        Err(error) => Some(StoreFinding::problem(format!("{path}: the totals of calls cannot be compared: {error}"))),
    }
}

/// Reads all bodies and compares them with their digests.
fn check_bodies(
    reader: &ReaderContext,
    checked_bodies: &mut u64,
    damaged: &mut Vec<String>,
    progress: InspectionProgress,
) -> Result<(), StoreError> {
    let last = events::last_seq(&reader.conn)?;
    let mut after = Seq(0);
    loop {
        let batch = events::check_bodies(reader, after, EVENTS_PER_BATCH)?;
        let Some(newest) = batch.last() else { return Ok(()) };
        after = newest.seq;
        *checked_bodies += batch.len() as u64;
        for checked in batch {
            // Removed by retention or an erasure since its row was read, if its row is gone.
            if let Some(error) = checked.error
                && events::exists(&reader.conn, checked.seq)?
            {
                damaged.push(format!("event {}: {error}", checked.id));
            }
        }
        progress("bodies checked", after.0.unsigned_abs(), last.unsigned_abs());
    }
}

fn limited_findings(texts: Vec<String>) -> Vec<StoreFinding> {
    let more = texts.len().saturating_sub(MAX_LISTED);
    let mut findings: Vec<_> = texts.into_iter().take(MAX_LISTED).map(StoreFinding::problem).collect();
    if more > 0 {
        findings.push(StoreFinding::problem(format!("{more} more bodies cannot be read or are damaged")));
    }
    findings
}
