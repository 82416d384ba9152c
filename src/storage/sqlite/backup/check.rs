//! Checks a copy by opening it and reading everything.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::base::id::EventId;
use crate::storage::backup::{COPY_NAME, CopyCheck, CopyCounts, CopyRun};
use crate::storage::sqlite::bodies::{BodyDigest, BodyReader};
use crate::storage::sqlite::{SqliteUrl, errors, open};
use crate::storage::{IdentityKey, StoreError};

/// More findings of one database are not listed.
const MAX_FINDINGS: usize = 20;
/// Bodies between two checks of whether to stop.
const BYTES_PER_STEP: u64 = 1024 * 1024;

/// Opens the copy in `folder` read-only, checks the structure of both databases and the digest of every body.
///
/// # Errors
/// The copy cannot be opened, or is that of another version of the store.
pub(crate) fn check_copy(folder: &Path, run: &CopyRun) -> Result<CopyCheck, StoreError> {
    let url = SqliteUrl::file(folder.join(COPY_NAME));
    let conn = open_read_only(&url)?;
    open::check_own_database(&conn, &url)?;
    let ledger = open_read_only(&url.ledger_url())?;
    let mut check = CopyCheck::default();
    for (name, conn) in [(COPY_NAME, &conn), ("the invocation ledger", &ledger)] {
        check.problems.extend(quick_check(conn)?.into_iter().map(|finding| format!("{name}: {finding}")));
    }
    if check.problems.is_empty() {
        let key = open::load_identity_key(&conn)?;
        check.store_id = key.store_id();
        check.counts = count_rows(&url)?;
        check.damaged_events = check_bodies(&conn, &url, &key, run)?;
    }
    Ok(check)
}

fn open_read_only(url: &SqliteUrl) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(url.path(), flags).map_err(|error| errors::unusable(url, error))
}

fn quick_check(conn: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare(&format!("PRAGMA quick_check({MAX_FINDINGS})"))?;
    let findings = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(findings.into_iter().filter(|finding| finding != "ok").collect())
}

pub(super) fn count_rows(url: &SqliteUrl) -> Result<CopyCounts, StoreError> {
    let conn = open_read_only(url)?;
    let (events, large_bodies, body_bytes) = conn.query_row(
        "SELECT (SELECT count(*) FROM events), count(*), coalesce(sum(e.size_bytes), 0)
         FROM bodies b JOIN events e ON e.seq = b.seq WHERE b.file IS NOT NULL",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let invocations =
        open_read_only(&url.ledger_url())?.query_row("SELECT count(*) FROM invocations", [], |row| row.get(0))?;
    Ok(CopyCounts { events, large_bodies, body_bytes, invocations })
}

/// Compares every body with its digest, and returns the ids of the events whose body differs, with the reason.
fn check_bodies(
    conn: &Connection,
    url: &SqliteUrl,
    key: &IdentityKey,
    run: &CopyRun,
) -> Result<Vec<(String, String)>, StoreError> {
    let reader = BodyReader::new(url);
    let mut statement = conn
        .prepare("SELECT seq, id, size_bytes, company_id, identity, dedupe_discriminator FROM events ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let mut damaged = Vec::new();
    let mut uncounted_bytes = 0;
    while let Some(row) = rows.next()? {
        let size_bytes: usize = row.get(2)?;
        let checked = match BodyDigest::from_row(row, 4, row.get(3)?, key) {
            Ok(digest) => reader.read(conn, row.get(0)?, size_bytes, &digest)?,
            Err(error) => Err(error),
        };
        if let Err(error) = checked {
            damaged.push((EventId::from_bytes(row.get(1)?).to_string(), error.to_string()));
        }
        uncounted_bytes += size_bytes as u64;
        if uncounted_bytes >= BYTES_PER_STEP {
            run.advance(std::mem::take(&mut uncounted_bytes))?;
        }
    }
    Ok(damaged)
}
