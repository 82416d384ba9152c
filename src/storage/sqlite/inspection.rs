//! Inspects a store without a receiver's rights: reading only, also while a receiver is running.

use std::fmt;

use rusqlite::{Connection, ErrorCode};

use super::bodies::{self, BodyReader};
use super::files::{Inventory, unlocked_files};
use super::latency_totals::{self, TotalsTable};
use super::readers::ReaderContext;
use super::wal::{MAX_WAL_BYTES_OF_READS, SyncState, WalLimit};
use super::{SqliteUrl, calls, events, open};
use crate::storage::{
    InspectionDepth, InspectionProgress, Seq, StoreError, StoreErrorKind, StoreFinding, StoreInspection,
};

/// Findings of one kind that are listed; further ones are counted.
const MAX_LISTED: usize = 50;
/// Events between two reports of the progress. Each batch is a separate read transaction, so that the log can start over
/// in between.
const EVENTS_PER_BATCH: usize = 500;

const MIB: u64 = 1024 * 1024;
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
    inspection.findings.extend(check_pages(url, MAX_WAL_BYTES_OF_READS, progress));
    if reader.ledger.is_ok() {
        inspection.findings.extend(check_pages(&url.ledger_url(), MAX_WAL_BYTES_OF_READS, progress));
    }
    inspection.findings.extend(check_call_totals(url, &reader.conn, progress));
    inspection.findings.extend(check_attempt_totals(url, progress));
    if reader.ledger.is_ok() {
        inspection.findings.extend(check_invocation_totals(url, progress));
    }
    let mut damaged = Vec::new();
    if let Err(error) = check_bodies(reader, &mut inspection.checked_bodies, &mut damaged, progress) {
        damaged.push(error.to_string());
    }
    inspection.findings.extend(limited_findings(damaged));
}

/// Runs SQLite's own check of each table and its indexes, one read transaction per table. The check of a table ends when
/// the write-ahead log is above its limit.
fn check_pages(url: &SqliteUrl, max_wal_bytes: u64, progress: InspectionProgress) -> Vec<StoreFinding> {
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
    let mut wal = WalLimit::new(url, max_wal_bytes);
    for (number, table) in tables.iter().enumerate() {
        progress("tables checked", number as u64, tables.len() as u64);
        match check_table(&mut wal, &mut conn, table) {
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

fn check_table(wal: &mut WalLimit, conn: &mut Connection, table: &str) -> Result<TableCheck, StoreError> {
    wal.wait_for_room();
    let limit = wal.clone();
    conn.progress_handler(STEPS_PER_WAL_CHECK, Some(move || limit.exceeded_by().is_some()))?;
    let mut check = conn.prepare(&format!("PRAGMA quick_check('{table}')"))?;
    let results: rusqlite::Result<Vec<String>> = check.query_map([], |row| row.get(0))?.collect();
    match results {
        Ok(results) => Ok(TableCheck::Complete(results.into_iter().filter(|result| result != "ok").collect())),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(TableCheck::Stopped { wal_bytes: wal.wal_bytes() })
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
    totals_finding(url, "calls or chats", "calls rebuild-stats", compare())
}

/// Compares the totals behind the statistics of attempts with the attempts.
fn check_attempt_totals(url: &SqliteUrl, progress: InspectionProgress) -> Option<StoreFinding> {
    let compared = latency_totals::count_differing_totals(url, TotalsTable::Attempts, &mut |attempts, total| {
        progress("attempts compared with totals", attempts, total);
    });
    totals_finding(url, "attempts", "deliveries rebuild-stats", compared)
}

/// Compares the totals behind the statistics of functions with the invocations.
fn check_invocation_totals(url: &SqliteUrl, progress: InspectionProgress) -> Option<StoreFinding> {
    let compared = latency_totals::count_differing_totals(url, TotalsTable::Invocations, &mut |invocations, total| {
        progress("invocations compared with totals", invocations, total);
    });
    totals_finding(&url.ledger_url(), "invocations", "functions rebuild-stats", compared)
}

fn totals_finding(
    url: &SqliteUrl,
    items: &str,
    remedy: &str,
    differing: Result<u64, StoreError>,
) -> Option<StoreFinding> {
    let path = url.path().display();
    match differing {
        Ok(0) => None,
        Ok(differing) => Some(StoreFinding::problem(format!(
            "{path}: {differing} totals of {items} differ from the stored ones, so statistics are wrong; correct them with \
             `{remedy}`"
        ))),
        Err(error) if error.kind() == StoreErrorKind::Unavailable => {
            Some(StoreFinding::warning(format!("{path}: the totals of {items} were not compared: {error}")))
        }
        Err(error) => Some(StoreFinding::problem(format!("{path}: the totals of {items} cannot be compared: {error}"))),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::storage::FindingSeverity;

    #[test]
    fn the_check_of_a_table_ends_when_the_log_has_grown() {
        let folder = tempfile::tempdir().unwrap();
        let url = SqliteUrl::file(folder.path().join("store.db"));
        let conn = Connection::open(url.path()).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
             CREATE TABLE large (a INTEGER, b INTEGER); CREATE INDEX large_a ON large (a); CREATE TABLE small (a BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
             INSERT INTO large SELECT i, i FROM n;
             PRAGMA wal_checkpoint(TRUNCATE);",
        )
        .unwrap();
        let stop = AtomicBool::new(false);
        let findings = std::thread::scope(|scope| {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    conn.execute("INSERT INTO small VALUES (zeroblob(20000))", []).unwrap();
                }
            });
            let findings = check_pages(&url, 64 * 1024, &mut |_, _, _| {});
            stop.store(true, Ordering::Relaxed);
            findings
        });
        let stopped = findings.iter().find(|finding| finding.text.contains("the table large of")).unwrap();
        assert_eq!(stopped.severity, FindingSeverity::Warning);
        for part in ["store.db was not checked: a receiver is writing", "MiB; check a backup with `backup verify`"] {
            assert!(stopped.text.contains(part), "{}", stopped.text);
        }
        assert_eq!(check_pages(&url, MAX_WAL_BYTES_OF_READS, &mut |_, _, _| {}), []);
    }
}
