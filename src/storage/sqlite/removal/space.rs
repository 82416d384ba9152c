//! Space goes back to the file system: free pages are cut off the database, bodies that are gone are punched out of their
//! file, and a file without any is deleted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::{Connection, params};

use crate::storage::StoreError;
use crate::storage::sqlite::bodies;

/// Free pages that stay for what comes next.
const MIN_FREE_PAGES: i64 = 64;
/// Pages moved at once: a few milliseconds.
const MAX_PAGES_PER_VACUUM: i64 = 100;
/// Bodies cleared away at once.
const MAX_BODIES_PER_BATCH: i64 = 500;

/// A freed body whose bytes are gone.
pub(in crate::storage::sqlite) struct ReclaimedBody {
    file: i64,
    offset: i64,
}

/// Gives some free pages back; says whether there are more. Inside a transaction.
pub(in crate::storage::sqlite) fn reclaim_pages(conn: &Connection) -> Result<bool, StoreError> {
    let free: i64 = conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    let spare = free - MIN_FREE_PAGES;
    if spare <= 0 {
        return Ok(false);
    }
    let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({})", spare.min(MAX_PAGES_PER_VACUUM)))?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    Ok(spare > MAX_PAGES_PER_VACUUM)
}

/// Clears bodies away that were freed before `before_ms`, so that nobody is reading them any more. Takes no lock; what it
/// returns is to be handed to [`forget_cleared`].
pub(in crate::storage::sqlite) fn reclaim_bodies(
    conn: &Connection,
    folder: &Path,
    before_ms: i64,
) -> Result<Vec<ReclaimedBody>, StoreError> {
    // In this order: the writer only goes on to a new file after what is in the one before was committed.
    let current = bodies::list_file_numbers(folder).max().unwrap_or(0);
    let mut freed = conn.prepare_cached(
        "SELECT file, at, size_bytes, overwrite FROM freed_bodies WHERE freed_at_ms < ?1 ORDER BY file, at LIMIT ?2",
    )?;
    let freed = freed.query_map([before_ms, MAX_BODIES_PER_BATCH], |row| {
        Ok(FreedBody {
            file: row.get(0)?,
            offset: row.get(1)?,
            size_bytes: row.get(2)?,
            overwrite: row.get(3)?,
            unused_range: (0, 0),
        })
    })?;
    let mut freed: Vec<FreedBody> = freed.collect::<Result<_, _>>()?;
    for freed in &mut freed {
        freed.unused_range = find_unused_range(conn, freed)?;
    }
    for of_file in freed.chunk_by(|one, other| one.file == other.file) {
        let [first, ..] = of_file else { continue };
        let path = bodies::body_file_path(folder, first.file);
        let unused = first.file < current && !is_body_file_used(conn, first.file)?;
        reclaim_body_file(&path, of_file, unused).map_err(|error| {
            StoreError::Unavailable(format!("cannot give back the space of {}: {error}", path.display()))
        })?;
        if unused {
            bodies::sync_folder(folder).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        }
    }
    Ok(freed.into_iter().map(|freed| ReclaimedBody { file: freed.file, offset: freed.offset }).collect())
}

/// Whether there may be more to clear away.
pub(in crate::storage::sqlite) fn is_full_batch(cleared: &[ReclaimedBody]) -> bool {
    i64::try_from(cleared.len()).is_ok_and(|cleared| cleared >= MAX_BODIES_PER_BATCH)
}

struct FreedBody {
    file: i64,
    offset: i64,
    size_bytes: u64,
    overwrite: bool,
    /// From where to where nothing is in use: it takes whole blocks to give space back, and neighbours may be gone too.
    unused_range: (u64, u64),
}

/// From the end of the body in front that is in use to the beginning of the next one. What the writer is about to append lies
/// behind the last one, and so never in a gap.
fn find_unused_range(conn: &Connection, freed: &FreedBody) -> Result<(u64, u64), StoreError> {
    let mut ends = conn.prepare_cached(
        "SELECT coalesce((SELECT body_at + size_bytes FROM events WHERE body_file = ?1 AND body_at < ?2
            ORDER BY body_at DESC LIMIT 1), 0),
         (SELECT body_at FROM events WHERE body_file = ?1 AND body_at > ?2 ORDER BY body_at LIMIT 1)",
    )?;
    let ends = ends.query_row(params![freed.file, freed.offset], |row| Ok((row.get(0)?, row.get(1)?)));
    let (from, to): (u64, Option<u64>) = ends?;
    Ok((from, to.unwrap_or(freed.offset.unsigned_abs() + freed.size_bytes)))
}

fn is_body_file_used(conn: &Connection, file: i64) -> Result<bool, StoreError> {
    Ok(conn.prepare_cached("SELECT 1 FROM events WHERE body_file = ?1 LIMIT 1")?.exists([file])?)
}

fn reclaim_body_file(path: &Path, freed: &[FreedBody], unused: bool) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    // Behind the end lies nothing; writing there would make zeros pass for a body.
    let within = freed.iter().filter(|freed| freed.offset.unsigned_abs() + freed.size_bytes <= size);
    let mut punched = (0, 0);
    for FreedBody { offset: at, size_bytes: size, overwrite, unused_range: gap, .. } in within {
        if *overwrite {
            write_zeros(&mut file, at.unsigned_abs(), *size)?;
            file.sync_data()?;
        }
        if !unused && (*overwrite || punched != *gap) {
            punch_hole(&mut file, gap.0, gap.1 - gap.0)?;
            punched = *gap;
        }
    }
    if unused { fs::remove_file(path) } else { Ok(()) }
}

fn write_zeros(file: &mut File, at: u64, mut size: u64) -> io::Result<()> {
    let zeros = [0; 16 * 1024];
    file.seek(SeekFrom::Start(at))?;
    while size > 0 {
        let part = usize::try_from(size).unwrap_or(zeros.len()).min(zeros.len());
        file.write_all(&zeros[..part])?;
        size -= part as u64;
    }
    Ok(())
}

/// Gives the bytes back; they read as zeros from now on. A file system that cannot do that keeps the space until the whole
/// file is unused.
#[cfg(target_os = "linux")]
fn punch_hole(file: &mut File, at: u64, size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(&*file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, size) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, at, size),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn punch_hole(file: &mut File, at: u64, size: u64) -> io::Result<()> {
    zero(file, at, size)
}

/// The bodies that were cleared need no row any more. Inside a transaction.
pub(in crate::storage::sqlite) fn delete_freed_rows(
    conn: &Connection,
    cleared: &[ReclaimedBody],
) -> Result<(), StoreError> {
    let mut forget = conn.prepare_cached("DELETE FROM freed_bodies WHERE file = ?1 AND at = ?2")?;
    for ReclaimedBody { file, offset: at } in cleared {
        forget.execute(params![file, at])?;
    }
    Ok(())
}

/// Bytes in use: pages that are not free, and what the files of bodies take without what is about to be given back.
pub(in crate::storage::sqlite) fn used_bytes(conn: &Connection, folder: &Path) -> Result<u64, StoreError> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let pages = (pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?;
    let freed: u64 = conn
        .prepare_cached("SELECT coalesce(sum(size_bytes), 0) FROM freed_bodies")?
        .query_row([], |row| row.get(0))?;
    let files =
        bodies::list_file_numbers(folder).map(|number| allocated_bytes(&bodies::body_file_path(folder, number)));
    Ok(pages + files.sum::<u64>().saturating_sub(freed))
}

#[cfg(unix)]
pub(in crate::storage::sqlite) fn allocated_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}

#[cfg(not(unix))]
pub(in crate::storage::sqlite) fn allocated_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}
