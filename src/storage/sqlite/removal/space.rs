//! Releases disk space: truncates free pages from the database, punches holes into body files where bodies were, and
//! deletes body files without any body.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::{Connection, params};

use crate::storage::StoreError;
use crate::storage::sqlite::wal::SyncState;
use crate::storage::sqlite::{blocks, bodies};

/// Free pages that stay in the database: releasing and allocating the same pages again would only cause writes.
pub(in crate::storage::sqlite) const MIN_FREE_PAGES: i64 = 64;
/// Pages moved per transaction, which takes a few milliseconds.
const MAX_PAGES_PER_VACUUM: i64 = 100;
/// Freed bodies reclaimed per call.
const MAX_BODIES_PER_BATCH: i64 = 500;

/// A freed body whose bytes no longer exist on disk; its row can be deleted.
pub(in crate::storage::sqlite) struct ReclaimedBody {
    file: i64,
    offset: i64,
    end: i64,
}

/// Releases some free pages above `min_free_pages` and returns whether there are more. Must run inside a transaction.
pub(in crate::storage::sqlite) fn reclaim_pages(conn: &Connection, min_free_pages: i64) -> Result<bool, StoreError> {
    let free: i64 = conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    let spare = free - min_free_pages;
    if spare <= 0 {
        return Ok(false);
    }
    let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({})", spare.min(MAX_PAGES_PER_VACUUM)))?;
    // One page is moved per step, so the statement has to be stepped to its end.
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    Ok(spare > MAX_PAGES_PER_VACUUM)
}

/// Reclaims bodies that were freed before `before_ms`, a time since which no reader can still have the event. Changes
/// files only and takes no lock on the database; pass the result to [`delete_freed_rows`] in a transaction.
pub(in crate::storage::sqlite) fn reclaim_bodies(
    conn: &Connection,
    folder: &Path,
    sync: &SyncState,
    before_ms: i64,
) -> Result<Vec<ReclaimedBody>, StoreError> {
    // Listed before the rows are read. The writer starts a new file only after the bodies of the previous one are
    // committed, so every body of a file below `current` is visible to the queries that follow.
    let current = list_file_numbers(folder)?.last().copied().unwrap_or(0);
    let mut freed = conn.prepare_cached(
        "SELECT file, at, size_bytes, overwrite FROM freed_bodies WHERE freed_at_ms < ?1 ORDER BY file, at LIMIT ?2",
    )?;
    let rows = freed.query_map(params![before_ms, MAX_BODIES_PER_BATCH], |row| {
        Ok(FreedBody {
            file: row.get(0)?,
            offset: row.get(1)?,
            size_bytes: row.get(2)?,
            overwrite: row.get(3)?,
            unused_range: (0, 0),
        })
    })?;
    let mut freed_bodies: Vec<FreedBody> = rows.collect::<Result<_, _>>()?;
    for in_file in freed_bodies.chunk_by_mut(|one, other| one.file == other.file) {
        let [first, ..] = in_file else { continue };
        let file = first.file;
        let path = bodies::body_file_path(folder, file);
        let is_all_due = !has_later_freed(conn, file, before_ms)?;
        for freed in &mut *in_file {
            freed.unused_range = if is_all_due { find_unused_range(conn, freed)? } else { freed.range() };
        }
        // The current file is never deleted: the writer has it open and appends to it.
        let is_unused = is_all_due && file < current && is_body_file_unused(conn, &path, file)?;
        reclaim_body_file(&path, in_file, is_unused, sync)?;
        if is_unused {
            // Before the rows are deleted: after a power failure the file could be back, and nothing would delete it
            // again.
            bodies::sync_folder(folder, sync)?;
        }
    }
    let reclaimed = freed_bodies.into_iter().map(|freed| ReclaimedBody {
        file: freed.file,
        offset: freed.offset,
        end: freed.offset.saturating_add_unsigned(freed.size_bytes),
    });
    Ok(reclaimed.collect())
}

/// Whether there may be further bodies to reclaim.
pub(in crate::storage::sqlite) fn is_full_batch(reclaimed: &[ReclaimedBody]) -> bool {
    i64::try_from(reclaimed.len()).is_ok_and(|count| count >= MAX_BODIES_PER_BATCH)
}

struct FreedBody {
    file: i64,
    offset: i64,
    size_bytes: u64,
    overwrite: bool,
    /// Start and end offset of the range around the body in which no body is in use. A file system releases whole
    /// blocks only, so a hole of the size of one body may release nothing; together with removed neighbors it does.
    unused_range: (u64, u64),
}

impl FreedBody {
    fn range(&self) -> (u64, u64) {
        let offset = self.offset.unsigned_abs();
        (offset, offset + self.size_bytes)
    }
}

pub(in crate::storage::sqlite) fn has_freed_bodies(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM freed_bodies LIMIT 1")?.exists([])
}

/// A time after that of every freed body so far.
pub(in crate::storage::sqlite) fn end_of_freed_times(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT coalesce(max(freed_at_ms) + 1, 0) FROM freed_bodies")?.query_row([], |row| row.get(0))
}

/// Whether the file has freed bodies that a reader may still use.
fn has_later_freed(conn: &Connection, file: i64, before_ms: i64) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM freed_bodies WHERE file = ?1 AND freed_at_ms >= ?2")?
        .exists(params![file, before_ms])
}

/// The range from the end of the previous body in use to the start of the next one; without a next one, to the end of
/// the freed body itself. The writer appends after the last body of the file, so the range never reaches what it is
/// writing.
fn find_unused_range(conn: &Connection, freed: &FreedBody) -> Result<(u64, u64), StoreError> {
    let mut neighbors = conn.prepare_cached(
        "SELECT coalesce((SELECT b.at + e.size_bytes FROM bodies b JOIN events e ON e.seq = b.seq
            WHERE b.file = ?1 AND b.at < ?2 ORDER BY b.at DESC LIMIT 1), 0),
         (SELECT at FROM bodies WHERE file = ?1 AND at > ?2 ORDER BY at LIMIT 1)",
    )?;
    let (start, end): (u64, Option<u64>) =
        neighbors.query_row(params![freed.file, freed.offset], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((start, end.unwrap_or(freed.range().1)))
}

/// Whether no event has its body in the file. A file with bytes that this database never named counts as used: they may
/// be bodies of a newer database that an operator puts back.
fn is_body_file_unused(conn: &Connection, path: &Path, file: i64) -> Result<bool, StoreError> {
    let file_bytes = fs::metadata(path).map_or(0, |file| file.len());
    let is_named = conn.prepare_cached("SELECT 1 FROM bodies WHERE file = ?1 LIMIT 1")?.exists([file])?;
    Ok(!is_named && bodies::unreferenced_bytes(conn, file, file_bytes)? == 0)
}

fn list_file_numbers(folder: &Path) -> Result<Vec<i64>, StoreError> {
    bodies::list_file_numbers(folder).map_err(|error| {
        StoreError::unavailable(format!("cannot list the body files in {}: {error}", folder.display()))
    })
}

fn reclaim_body_file(path: &Path, freed: &[FreedBody], is_unused: bool, sync: &SyncState) -> Result<(), StoreError> {
    let failed =
        |error: io::Error| StoreError::unavailable(format!("cannot release the space of {}: {error}", path.display()));
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        // Deleted before a crash that kept the rows.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let file_bytes = file.metadata().map_err(failed)?.len();
    // The file may be an older one. Writing past its end would extend it, and the zeros would be taken for the body of an
    // event.
    let in_file = || freed.iter().filter(|body| body.range().1 <= file_bytes);
    for body in in_file().filter(|body| body.overwrite) {
        write_zeros(&mut file, body.range().0, body.size_bytes).map_err(failed)?;
    }
    if in_file().any(|body| body.overwrite) {
        // Before the holes are punched: the zeros must reach the blocks that are released after that.
        file.sync_data().map_err(|error| sync.report(path, &error))?;
    }
    let mut punched_range = (0, 0);
    for body in in_file().filter(|_| !is_unused) {
        // Neighbors that are gone too share one range, which is punched once.
        if punched_range != body.unused_range {
            let (start, end) = body.unused_range;
            punch_hole(&mut file, start, end - start).map_err(failed)?;
            punched_range = body.unused_range;
        }
    }
    if is_unused {
        // A reader may have it open, and would keep the space of a file that is only removed.
        file.set_len(0).and_then(|()| fs::remove_file(path)).map_err(failed)?;
    }
    Ok(())
}

fn write_zeros(file: &mut File, offset: u64, mut size: u64) -> io::Result<()> {
    let zeros = [0; 16 * 1024];
    file.seek(SeekFrom::Start(offset))?;
    while size > 0 {
        let part = usize::try_from(size).unwrap_or(zeros.len()).min(zeros.len());
        file.write_all(&zeros[..part])?;
        size -= part as u64;
    }
    Ok(())
}

/// Releases a range of the file, which reads as zeros from then on. A file system that cannot do this keeps the space
/// until the whole file is unused.
#[cfg(target_os = "linux")]
fn punch_hole(file: &mut File, offset: u64, size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(&*file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, size) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, offset, size),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn punch_hole(file: &mut File, offset: u64, size: u64) -> io::Result<()> {
    write_zeros(file, offset, size)
}

/// Deletes the rows of reclaimed bodies. Must run inside a transaction.
pub(in crate::storage::sqlite) fn delete_freed_rows(
    conn: &Connection,
    reclaimed: &[ReclaimedBody],
) -> Result<(), StoreError> {
    let mut delete = conn.prepare_cached("DELETE FROM freed_bodies WHERE file = ?1 AND at = ?2")?;
    // After this row nothing else tells that the bytes at the end of the file once had a row.
    let mut record_end = conn.prepare_cached(
        "INSERT INTO body_file_ends (file, end_at) VALUES (?1, ?2)
         ON CONFLICT (file) DO UPDATE SET end_at = max(end_at, excluded.end_at)",
    )?;
    for ReclaimedBody { file, offset, end } in reclaimed {
        delete.execute(params![file, offset])?;
        record_end.execute(params![file, end])?;
    }
    Ok(())
}

/// Bytes in use: database pages that are not free, and allocated bytes of the body files; without removed bodies and
/// bytes that no row names. A purge by size cannot release the latter, and would delete more and more events.
pub(in crate::storage::sqlite) fn used_bytes(conn: &Connection, folder: &Path) -> Result<u64, StoreError> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let database_bytes = (pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?;
    let freed_bytes: u64 = conn
        .prepare_cached("SELECT coalesce(sum(size_bytes), 0) FROM freed_bodies")?
        .query_row([], |row| row.get(0))?;
    let mut file_bytes = 0;
    for number in list_file_numbers(folder)? {
        let path = bodies::body_file_path(folder, number);
        let length = fs::metadata(&path).map_or(0, |file| file.len());
        file_bytes += allocated_bytes(&path).saturating_sub(bodies::unreferenced_bytes(conn, number, length)?);
    }
    Ok((database_bytes + file_bytes).saturating_sub(freed_bytes + blocks::removed_bytes(conn)?))
}

/// Bytes that the file occupies on disk. Holes do not count, so the length of the file would be too much.
#[cfg(unix)]
pub(in crate::storage::sqlite) fn allocated_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // Blocks of 512 bytes by definition of `st_blocks`, whatever the block size of the file system.
    fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}

#[cfg(not(unix))]
pub(in crate::storage::sqlite) fn allocated_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}
