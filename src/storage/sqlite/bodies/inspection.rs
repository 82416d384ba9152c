//! Compares the body files with the bodies that the database names.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use super::BodyLocation;
use super::append_position::is_one_transaction;
use super::files::{body_file_path, file_bytes, list_file_numbers};
use crate::storage::{IdentityKey, StoreError};

/// A body file that differs from what the database names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage::sqlite) enum BodyFileFinding {
    /// Bodies of events are missing: the file is not there, or ends before the last of them.
    MissingBodies { path: PathBuf, expected_bytes: u64, found_bytes: u64 },
    /// The file has bytes behind the last body that the database has ever named.
    UnreferencedBytes { path: PathBuf, referenced_bytes: u64, unreferenced_bytes: u64 },
}

impl BodyFileFinding {
    /// Whether the file has bytes that no row names.
    pub(in crate::storage::sqlite) fn is_unreferenced(&self) -> bool {
        matches!(self, Self::UnreferencedBytes { .. })
    }
}

impl fmt::Display for BodyFileFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingBodies { path, expected_bytes, found_bytes } => write!(
                f,
                "{} has {found_bytes} of {expected_bytes} bytes, so bodies of events are missing; put the bodies folder \
                 back that belongs to the database",
                path.display()
            ),
            Self::UnreferencedBytes { path, referenced_bytes, unreferenced_bytes } => write!(
                f,
                "{} has {unreferenced_bytes} bytes after byte {referenced_bytes} that no event names; the database may \
                 be older than the file, or that of another store: stop the receiver and put the newer database back, \
                 or delete these bytes if no database needs them",
                path.display()
            ),
        }
    }
}

/// Compares every file with the database. What one transaction that is being written, or was interrupted, has put
/// behind the last body of the newest file is not a finding.
pub(in crate::storage::sqlite) fn inspect(
    folder: &Path,
    conn: &Connection,
    key: &IdentityKey,
) -> Result<Vec<BodyFileFinding>, StoreError> {
    // The lengths first: a transaction that commits afterwards only makes the database name more than was measured.
    let failed = |error: io::Error| {
        StoreError::unavailable(format!("cannot inspect the body files in {}: {error}", folder.display()))
    };
    let existing = list_file_numbers(folder).map_err(failed)?;
    let newest = existing.last().copied();
    let mut lengths = Vec::new();
    for number in existing.iter().copied().chain(list_named_files(conn)?).collect::<BTreeSet<_>>() {
        lengths.push((number, file_bytes(&body_file_path(folder, number)).map_err(failed)?.unwrap_or(0)));
    }
    let mut findings = Vec::new();
    for (number, found_bytes) in lengths {
        let path = body_file_path(folder, number);
        let expected_bytes = last_body_end(conn, number)?;
        let referenced_bytes = known_end(conn, number)?;
        if found_bytes < expected_bytes {
            findings.push(BodyFileFinding::MissingBodies { path, expected_bytes, found_bytes });
        } else if found_bytes > referenced_bytes {
            let unreferenced_bytes = found_bytes - referenced_bytes;
            let end = BodyLocation { file_number: number, offset: referenced_bytes };
            let is_in_progress = newest == Some(number)
                && File::open(&path)
                    .and_then(|mut file| is_one_transaction(&mut file, end, unreferenced_bytes, key))
                    .map_err(failed)?;
            if !is_in_progress {
                findings.push(BodyFileFinding::UnreferencedBytes { path, referenced_bytes, unreferenced_bytes });
            }
        }
    }
    Ok(findings)
}

/// Logs the findings of a start.
pub(super) fn log_findings(findings: &[BodyFileFinding]) {
    for finding in findings {
        match finding {
            BodyFileFinding::MissingBodies { path, expected_bytes, found_bytes } => {
                tracing::error!(path = %path.display(), expected_bytes, found_bytes, advice = %finding,
                    "stored bodies missing");
            }
            BodyFileFinding::UnreferencedBytes { path, unreferenced_bytes, .. } => {
                tracing::error!(path = %path.display(), bytes = unreferenced_bytes, advice = %finding,
                    "unreferenced bodies kept");
            }
        }
    }
}

/// The end of the last body that the database has ever named, in its last file.
pub(super) fn last_known_end(conn: &Connection) -> Result<Option<BodyLocation>, StoreError> {
    let file: Option<i64> = conn
        .prepare_cached(
            "SELECT max(file) FROM (
               SELECT max(file) AS file FROM bodies WHERE file IS NOT NULL
               UNION ALL SELECT max(file) FROM freed_bodies
               UNION ALL SELECT max(file) FROM body_file_ends)",
        )?
        .query_row([], |row| row.get(0))?;
    let Some(file_number) = file else { return Ok(None) };
    Ok(Some(BodyLocation { file_number, offset: known_end(conn, file_number)? }))
}

/// The end of the last body in this file that the database has ever named. Bodies that were freed count as well:
/// reclaiming writes zeros over them, and would do so to a new body that was appended in their place.
pub(in crate::storage::sqlite) fn known_end(conn: &Connection, file: i64) -> Result<u64, StoreError> {
    let freed = conn
        .prepare_cached(
            "SELECT max(coalesce((SELECT at + size_bytes FROM freed_bodies WHERE file = ?1 ORDER BY at DESC LIMIT 1), 0),
               coalesce((SELECT end_at FROM body_file_ends WHERE file = ?1), 0))",
        )?
        .query_row([file], |row| row.get(0))?;
    Ok(last_body_end(conn, file)?.max(freed))
}

/// The end of the last body in this file that an event names.
fn last_body_end(conn: &Connection, file: i64) -> Result<u64, StoreError> {
    let end = conn
        .prepare_cached(
            "SELECT b.at + e.size_bytes FROM bodies b JOIN events e ON e.seq = b.seq
             WHERE b.file = ?1 ORDER BY b.at DESC LIMIT 1",
        )?
        .query_row([file], |row| row.get(0))
        .optional()?;
    Ok(end.unwrap_or(0))
}

/// The files in which events have bodies.
fn list_named_files(conn: &Connection) -> Result<Vec<i64>, StoreError> {
    // One index step per file; `SELECT DISTINCT` would read every entry of the index.
    let mut next = conn.prepare_cached("SELECT min(file) FROM bodies WHERE file > ?1")?;
    let mut files = Vec::new();
    let mut after = i64::MIN;
    while let Some(file) = next.query_row([after], |row| row.get::<_, Option<i64>>(0))? {
        files.push(file);
        after = file;
    }
    Ok(files)
}

/// Bytes of a file of this length that the database has never named.
pub(in crate::storage::sqlite) fn unreferenced_bytes(
    conn: &Connection,
    file: i64,
    file_bytes: u64,
) -> Result<u64, StoreError> {
    Ok(file_bytes.saturating_sub(known_end(conn, file)?))
}
