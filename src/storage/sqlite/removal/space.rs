//! Space goes back to the file system: free pages are cut off the database, bodies that are gone are punched out of their
//! file, and a file without any is deleted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::{Connection, params};

use crate::storage::StoreError;
use crate::storage::sqlite::bodies;

/// Free pages that stay for what comes next.
const KEPT_FREE: i64 = 64;
/// Pages moved at once: a few milliseconds.
const PAGES: i64 = 100;
/// Bodies cleared away at once.
const CLEARED: i64 = 500;

/// A freed body whose bytes are gone.
pub(in crate::storage::sqlite) struct Cleared {
    file: i64,
    at: i64,
}

/// Gives some free pages back; says whether there are more. Inside a transaction.
pub(in crate::storage::sqlite) fn give_back_pages(conn: &Connection) -> Result<bool, StoreError> {
    let free: i64 = conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    let spare = free - KEPT_FREE;
    if spare <= 0 {
        return Ok(false);
    }
    let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({})", spare.min(PAGES)))?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    Ok(spare > PAGES)
}

/// Clears bodies away that were freed before `before_ms`, so that nobody is reading them any more. Takes no lock; what it
/// returns is to be handed to [`forget_cleared`].
pub(in crate::storage::sqlite) fn clear_bodies(
    conn: &Connection,
    folder: &Path,
    before_ms: i64,
) -> Result<Vec<Cleared>, StoreError> {
    // In this order: the writer only goes on to a new file after what is in the one before was committed.
    let current = bodies::numbers(folder).max().unwrap_or(0);
    let mut freed = conn.prepare_cached(
        "SELECT file, at, size_bytes, overwrite FROM freed_bodies WHERE freed_at_ms < ?1 ORDER BY file, at LIMIT ?2",
    )?;
    let freed = freed.query_map([before_ms, CLEARED], |row| {
        Ok(Freed { file: row.get(0)?, at: row.get(1)?, size: row.get(2)?, overwrite: row.get(3)?, gap: (0, 0) })
    })?;
    let mut freed: Vec<Freed> = freed.collect::<Result<_, _>>()?;
    for freed in &mut freed {
        freed.gap = gap(conn, freed)?;
    }
    for of_file in freed.chunk_by(|one, other| one.file == other.file) {
        let [first, ..] = of_file else { continue };
        let path = bodies::path(folder, first.file);
        let unused = first.file < current && !is_used(conn, first.file)?;
        clear_file(&path, of_file, unused).map_err(|error| {
            StoreError::Unavailable(format!("cannot give back the space of {}: {error}", path.display()))
        })?;
        if unused {
            bodies::sync_folder(folder).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        }
    }
    Ok(freed.into_iter().map(|freed| Cleared { file: freed.file, at: freed.at }).collect())
}

/// Whether there may be more to clear away.
pub(in crate::storage::sqlite) fn is_full(cleared: &[Cleared]) -> bool {
    i64::try_from(cleared.len()).is_ok_and(|cleared| cleared >= CLEARED)
}

struct Freed {
    file: i64,
    at: i64,
    size: u64,
    overwrite: bool,
    /// From where to where nothing is in use: it takes whole blocks to give space back, and neighbours may be gone too.
    gap: (u64, u64),
}

/// From the end of the body in front that is in use to the beginning of the next one. What the writer is about to append lies
/// behind the last one, and so never in a gap.
fn gap(conn: &Connection, freed: &Freed) -> Result<(u64, u64), StoreError> {
    let mut ends = conn.prepare_cached(
        "SELECT coalesce((SELECT body_at + size_bytes FROM events WHERE body_file = ?1 AND body_at < ?2
            ORDER BY body_at DESC LIMIT 1), 0),
         (SELECT body_at FROM events WHERE body_file = ?1 AND body_at > ?2 ORDER BY body_at LIMIT 1)",
    )?;
    let ends = ends.query_row(params![freed.file, freed.at], |row| Ok((row.get(0)?, row.get(1)?)));
    let (from, to): (u64, Option<u64>) = ends?;
    Ok((from, to.unwrap_or(freed.at.unsigned_abs() + freed.size)))
}

fn is_used(conn: &Connection, file: i64) -> Result<bool, StoreError> {
    Ok(conn.prepare_cached("SELECT 1 FROM events WHERE body_file = ?1 LIMIT 1")?.exists([file])?)
}

fn clear_file(path: &Path, freed: &[Freed], unused: bool) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    // Behind the end lies nothing; writing there would make zeros pass for a body.
    let within = freed.iter().filter(|freed| freed.at.unsigned_abs() + freed.size <= size);
    let mut punched = (0, 0);
    for Freed { at, size, overwrite, gap, .. } in within {
        if *overwrite {
            zero(&mut file, at.unsigned_abs(), *size)?;
            file.sync_data()?;
        }
        if !unused && (*overwrite || punched != *gap) {
            punch(&mut file, gap.0, gap.1 - gap.0)?;
            punched = *gap;
        }
    }
    if unused { fs::remove_file(path) } else { Ok(()) }
}

fn zero(file: &mut File, at: u64, mut size: u64) -> io::Result<()> {
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
fn punch(file: &mut File, at: u64, size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(&*file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, size) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => zero(file, at, size),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn punch(file: &mut File, at: u64, size: u64) -> io::Result<()> {
    zero(file, at, size)
}

/// The bodies that were cleared need no row any more. Inside a transaction.
pub(in crate::storage::sqlite) fn forget_cleared(conn: &Connection, cleared: &[Cleared]) -> Result<(), StoreError> {
    let mut forget = conn.prepare_cached("DELETE FROM freed_bodies WHERE file = ?1 AND at = ?2")?;
    for Cleared { file, at } in cleared {
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
    let files = bodies::numbers(folder).map(|number| allocated(&bodies::path(folder, number)));
    Ok(pages + files.sum::<u64>().saturating_sub(freed))
}

#[cfg(unix)]
pub(in crate::storage::sqlite) fn allocated(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}

#[cfg(not(unix))]
pub(in crate::storage::sqlite) fn allocated(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}
