//! The folder that holds backups, one subfolder per backup.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::files::{create_private_folder, io_error, sync_folder};
use super::manifest::Manifest;
use super::time_name;
use crate::operations::OperationError;
use crate::operations::text::format_bytes;
use crate::telemetry::disk::DiskSpace;

/// Ends the name of a backup that is not complete.
const PARTIAL_SUFFIX: &str = ".partial";
/// Space that stays free: a receiver on the same disk must be able to store events meanwhile.
const MIN_FREE_BYTES: u64 = 256 * 1024 * 1024;

/// A folder of backups, locked against another process that makes one in it.
pub(super) struct BackupFolder {
    path: PathBuf,
    lock: File,
}

impl BackupFolder {
    /// Opens or creates the folder, and deletes what an interrupted backup has left in it.
    pub(super) fn open(path: &Path) -> Result<Self, OperationError> {
        let is_new = !path.exists();
        create_private_folder(path).map_err(|error| io_error("create", path, &error))?;
        let path = fs::canonicalize(path).map_err(|error| io_error("open", path, &error))?;
        // The name of a new folder is in the folder above it.
        if let Some(parent) = path.parent().filter(|_| is_new) {
            sync_folder(parent)?;
        }
        // The folder itself is locked: a lock file could be deleted.
        let lock = File::open(&path).map_err(|error| io_error("open", &path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another process makes a backup in {}; wait for it", path.display());
                return Err(OperationError::InvalidInput(message));
            }
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path, &error)),
        }
        let folder = Self { path, lock };
        for name in folder.subfolders()? {
            if name.ends_with(PARTIAL_SUFFIX) {
                let path = folder.path.join(name);
                fs::remove_dir_all(&path).map_err(|error| io_error("delete", &path, &error))?;
            }
        }
        Ok(folder)
    }

    /// Fails when a backup of this size would fill the disk.
    pub(super) fn check_space(&self, bytes: u64) -> Result<(), OperationError> {
        let Some(disk) = DiskSpace::of_filesystem(&self.path) else { return Ok(()) };
        if disk.free_bytes >= bytes.saturating_add(MIN_FREE_BYTES.min(disk.total_bytes / 20)) {
            return Ok(());
        }
        Err(OperationError::InvalidInput(format!(
            "the disk of {} has {} free, and the backup needs {}; free space, or choose another folder",
            self.path.display(),
            format_bytes(disk.free_bytes),
            format_bytes(bytes)
        )))
    }

    /// Creates the folder of a new backup under a temporary name.
    pub(super) fn create_partial(&self, at_ms: i64) -> Result<PartialBackup, OperationError> {
        let path = self.path.join(time_name(at_ms) + PARTIAL_SUFFIX);
        create_private_folder(&path).map_err(|error| io_error("create", &path, &error))?;
        Ok(PartialBackup { path, is_published: false })
    }

    /// Gives a complete backup its name.
    pub(super) fn publish(&self, mut partial: PartialBackup, at_ms: i64) -> Result<PathBuf, OperationError> {
        let path = self.path.join(time_name(at_ms));
        if path.exists() {
            return Err(OperationError::InvalidInput(format!("{} exists already", path.display())));
        }
        fs::rename(&partial.path, &path).map_err(|error| io_error("rename", &partial.path, &error))?;
        partial.is_published = true;
        sync_folder(&self.path)?;
        Ok(path)
    }

    /// Deletes the oldest backups of this store until `keep` are left. Other folders stay.
    pub(super) fn delete_old(&self, store_id: &str, keep: usize) -> Result<Vec<PathBuf>, OperationError> {
        let mut backups = Vec::new();
        for name in self.subfolders()? {
            let path = self.path.join(name);
            // A damaged backup is not counted and not deleted.
            if let Ok(manifest) = Manifest::read(&path)
                && manifest.store_id == store_id
            {
                backups.push((manifest.taken_at_ms, path));
            }
        }
        backups.sort();
        backups.truncate(backups.len().saturating_sub(keep));
        let mut deleted = Vec::new();
        for (_, path) in backups {
            // Under a name that is not one of a backup first, and on disk: a deletion that is interrupted leaves no half
            // backup, also in a power cut.
            let doomed =
                self.path.join(format!("deleting-{}{PARTIAL_SUFFIX}", path.file_name().unwrap_or_default().display()));
            fs::rename(&path, &doomed).map_err(|error| io_error("rename", &path, &error))?;
            sync_folder(&self.path)?;
            fs::remove_dir_all(&doomed).map_err(|error| io_error("delete", &doomed, &error))?;
            deleted.push(path);
        }
        Ok(deleted)
    }

    fn subfolders(&self) -> Result<Vec<String>, OperationError> {
        let failed = |error| io_error("read", &self.path, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }
}

impl Drop for BackupFolder {
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

/// A backup that is being made. Deleted when it is dropped before it is published.
pub(super) struct PartialBackup {
    path: PathBuf,
    is_published: bool,
}

impl PartialBackup {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PartialBackup {
    fn drop(&mut self) {
        if !self.is_published {
            // If this fails, the next backup in the folder deletes it.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
