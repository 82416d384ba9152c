//! Inspects a store without a receiver's rights: reading only, also while a receiver is running.

use rusqlite::Connection;

use super::bodies::{self, BodyReader};
use super::files::{Inventory, unlocked_files};
use super::readers::ReaderContext;
use super::wal::SyncState;
use super::{SqliteUrl, events, open};
use crate::storage::{InspectionDepth, InspectionProgress, Seq, StoreError, StoreFinding, StoreInspection};

/// Findings of one kind that are listed; further ones are counted.
const MAX_LISTED: usize = 50;
/// Events between two reports of the progress. Each batch is a separate read transaction, so that the log can start over
/// in between.
const EVENTS_PER_BATCH: usize = 500;

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
    progress("databases checked", 0, 2);
    inspection.findings.extend(check_pages(url, Ok(&reader.conn)));
    progress("databases checked", 1, 2);
    if reader.ledger.is_ok() {
        let ledger = url.ledger_url();
        inspection.findings.extend(check_pages(&ledger, open::open_reader(&ledger).as_ref()));
    }
    progress("databases checked", 2, 2);
    let mut damaged = Vec::new();
    if let Err(error) = check_bodies(reader, &mut inspection.checked_bodies, &mut damaged, progress) {
        damaged.push(error.to_string());
    }
    inspection.findings.extend(limited_findings(damaged));
}

/// Runs SQLite's own check of the pages.
fn check_pages(url: &SqliteUrl, conn: Result<&Connection, &StoreError>) -> Vec<StoreFinding> {
    let check = |conn: &Connection| -> Result<Vec<String>, StoreError> {
        let mut check = conn.prepare(&format!("PRAGMA main.quick_check({MAX_LISTED})"))?;
        let rows = check.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    let results = match conn.map_err(Clone::clone).and_then(check) {
        Ok(results) if results == ["ok"] => return Vec::new(),
        Ok(results) => results,
        Err(error) => vec![error.to_string()],
    };
    let path = url.path().display();
    let finding = |result| {
        StoreFinding::problem(format!(
            "{path} is damaged: {result}; stop the receiver and restore the store from a backup"
        ))
    };
    results.into_iter().map(finding).collect()
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
