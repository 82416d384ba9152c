//! The disk reserve: a file that only takes up space. A command that changes the store releases it when the disk is
//! full, because an erasure is due by law also then, and deleting needs space before it frees any. Intake never uses
//! it: while it is released, events are refused, or they would fill the space at once.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;

use crate::storage::sqlite::SqliteUrl;
use crate::storage::sqlite::open::open_private_file;
use crate::storage::{StoreError, StoreErrorKind};
use crate::telemetry::disk::DiskSpace;

/// Enough for the write-ahead log of an erasure, which is emptied again and again, and for the rows that it leaves.
const RESERVE_BYTES: u64 = 16 * 1024 * 1024;
/// Free space below which the reserve is not created: it would take what events need.
const MIN_FREE_BYTES: u64 = 2 * RESERVE_BYTES;
/// Free space below which an error of the file system counts as a full disk. SQLite reports some of them as other
/// errors.
const FULL_DISK_BYTES: u64 = 1024 * 1024;

/// The reserve of a store.
#[derive(Clone)]
pub(in crate::storage::sqlite) struct DiskReserve(PathBuf);

impl DiskReserve {
    fn new(url: &SqliteUrl) -> Self {
        Self(url.path_with_suffix(".reserve"))
    }

    fn free_bytes(&self) -> Option<u64> {
        self.0.parent().and_then(DiskSpace::of_filesystem).map(|disk| disk.free_bytes)
    }

    /// The reserve of the receiver. Creates it if there is room for it.
    pub(in crate::storage::sqlite) fn open(url: &SqliteUrl) -> Self {
        let reserve = Self::new(url);
        reserve.create();
        reserve
    }

    fn create(&self) {
        let created = if self.0.exists() {
            self.keep().map_err(|error| error.to_string())
        } else if self.free_bytes().is_some_and(|free| free < MIN_FREE_BYTES) {
            Err(format!("less than {MIN_FREE_BYTES} bytes are free"))
        } else {
            open_private_file(&self.0).and_then(|file| fill(&file)).map_err(|error| {
                // Not left empty, which would say that a command has released it.
                let _ = std::fs::remove_file(&self.0);
                error.to_string()
            })
        };
        if let Err(error) = created {
            tracing::warn!(path = %self.0.display(), bytes = RESERVE_BYTES, %error, "disk reserve not created");
        }
    }

    /// Whether events may be stored: fails while a command uses the reserve, and afterwards until it can be filled again.
    pub(in crate::storage::sqlite) fn keep(&self) -> Result<(), StoreError> {
        match std::fs::metadata(&self.0) {
            Ok(file) if file.len() < RESERVE_BYTES => {}
            // Without a reserve, because there was no room or it was deleted, events are stored as long as they fit.
            _ => return Ok(()),
        }
        let refill = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(&self.0)?;
            // A command holds the lock as long as it uses the reserve.
            file.try_lock()?;
            let filled = fill(&file);
            file.unlock()?;
            filled
        };
        refill().map_err(|error| {
            StoreError::full(format!(
                "the disk is full: the reserve {} was released for a command and cannot be filled again yet ({error}); \
                 free space on the disk that holds the store",
                self.0.display()
            ))
        })
    }
}

/// Allocates the blocks of the reserve.
fn fill(file: &File) -> io::Result<()> {
    let filled = allocate(file);
    if filled.is_err() {
        // Blocks that were allocated before the disk was full.
        file.set_len(0)?;
    }
    filled
}

#[cfg(target_os = "linux")]
fn allocate(file: &File) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file),
        allocated => Ok(allocated?),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File) -> io::Result<()> {
    write_zeros(file)
}

fn write_zeros(mut file: &File) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), RESERVE_BYTES), &mut file).map(drop)
}

/// The use of the reserve by a command. When it ends, the reserve is filled again if there is room.
pub(in crate::storage::sqlite) struct ReserveUse {
    reserve: DiskReserve,
    /// Locked while the reserve is released.
    released: Option<File>,
}

impl ReserveUse {
    pub(in crate::storage::sqlite) fn new(url: &SqliteUrl) -> Self {
        Self { reserve: DiskReserve::new(url), released: None }
    }

    pub(in crate::storage::sqlite) fn is_released(&self) -> bool {
        self.released.is_some()
    }

    /// Releases the reserve if `error` means that the disk is full. Returns whether there is more space now.
    pub(in crate::storage::sqlite) fn release_for(&mut self, error: &StoreError) -> bool {
        self.is_disk_full(error) && self.release()
    }

    /// Releases the reserve if hardly any space is free.
    pub(in crate::storage::sqlite) fn release_if_full(&mut self) {
        if self.has_no_space() {
            self.release();
        }
    }

    fn release(&mut self) -> bool {
        if self.is_released() {
            return false;
        }
        let release = || -> io::Result<Option<File>> {
            let file = OpenOptions::new().write(true).open(&self.reserve.0)?;
            file.try_lock()?;
            let has_space = file.metadata()?.len() > 0;
            file.set_len(0)?;
            Ok(has_space.then_some(file))
        };
        // Without a reserve the command fails with the error that it has already.
        self.released = release().ok().flatten();
        self.is_released()
    }

    /// Fills the reserve again if there is room. If not, the receiver refuses events until it can.
    pub(in crate::storage::sqlite) fn end(&mut self) {
        if let Some(file) = self.released.take() {
            let _ = fill(&file);
            let _ = file.unlock();
        }
    }

    /// Whether `error` means that the disk is full.
    pub(in crate::storage::sqlite) fn is_disk_full(&self, error: &StoreError) -> bool {
        match error.kind() {
            StoreErrorKind::Full => true,
            StoreErrorKind::Unavailable | StoreErrorKind::Unusable => self.has_no_space(),
            _ => false,
        }
    }

    fn has_no_space(&self) -> bool {
        self.reserve.free_bytes().is_some_and(|free| free < FULL_DISK_BYTES)
    }
}

impl Drop for ReserveUse {
    fn drop(&mut self) {
        self.end();
    }
}
