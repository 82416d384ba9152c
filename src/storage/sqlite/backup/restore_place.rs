//! The place of a store into which a copy is restored.
//!
//! The copy is completed in a folder next to the store first. Only then the files of the present store are renamed, and
//! those of the copy take their names, the database last: without it, no one takes the rest for a store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::databases::sync_folder;
use crate::config::StorageUrl;
use crate::storage::backup::{COPY_NAME, read_erasure_log};
use crate::storage::sqlite::files::StoreLock;
use crate::storage::sqlite::{SqliteUrl, open};
use crate::storage::{StoreError, StoreErrorKind};

/// What is added to the path of the database to name the other files of a store.
const FILE_SUFFIXES: [&str; 9] =
    ["", "-wal", "-shm", "-journal", "-bodies", "-ledger", "-ledger-wal", "-ledger-shm", ".sync-state"];
/// The files of a copy, in the order in which they take their place.
const COPY_SUFFIXES: [&str; 3] = ["-bodies", "-ledger", ""];

/// A place that no receiver and no command uses. Receivers cannot start on it while this exists.
pub(crate) struct RestorePlace {
    url: SqliteUrl,
    staging: PathBuf,
    _lock: Option<StoreLock>,
}

impl RestorePlace {
    /// Claims the place that `url` names.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `Unusable` when a receiver or another command uses the store there.
    pub(crate) fn claim(url: &StorageUrl) -> Result<Self, StoreError> {
        let url = SqliteUrl::from(url);
        open::create_store_folder(&url)?;
        let lock = if url.path().exists() { Some(StoreLock::acquire(&url)?) } else { None };
        let staging = url.path_with_suffix("-restoring");
        let place = Self { url, staging, _lock: lock };
        place.check_unused()?;
        Ok(place)
    }

    /// The files that are in the place now.
    pub(crate) fn existing_files(&self) -> Vec<PathBuf> {
        let paths = FILE_SUFFIXES.iter().map(|suffix| self.url.path_with_suffix(suffix));
        paths.filter(|path| fs::symlink_metadata(path).is_ok() && !is_empty_folder(path)).collect()
    }

    /// A new, empty folder on the same file system, for the files of the copy.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(crate) fn create_staging_folder(&self) -> Result<&Path, StoreError> {
        // One that exists is left from a restore that was interrupted.
        let removed = match fs::remove_dir_all(&self.staging) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
        removed
            .and_then(|()| open::create_private_folder(&self.staging))
            .map_err(|error| failed(&self.staging, &error))?;
        Ok(&self.staging)
    }

    /// Moves the files that are in the place aside, and those of the staging folder into the place. Returns the path that
    /// the database was moved to. `store_id` is that of the copy.
    ///
    /// # Errors
    /// Files may have been moved; none was deleted.
    pub(crate) fn put_in_place(self, store_id: &str, now: &str) -> Result<Option<PathBuf>, StoreError> {
        self.check_unused()?;
        sync_folder(&self.staging)?;
        let aside = SqliteUrl::file(self.url.path_with_suffix(&format!(".before-restore-{now}")));
        let existed = !self.existing_files().is_empty();
        for suffix in FILE_SUFFIXES {
            rename_if_exists(&self.url.path_with_suffix(suffix), &aside.path_with_suffix(suffix))?;
        }
        let log_path = self.url.erasure_log_path();
        if existed && read_erasure_log(&log_path)?.is_some_and(|log| log.store_id != store_id) {
            rename_if_exists(&log_path, &aside.erasure_log_path())?;
        }
        let copy = SqliteUrl::file(self.staging.join(COPY_NAME));
        for suffix in COPY_SUFFIXES {
            rename_if_exists(&copy.path_with_suffix(suffix), &self.url.path_with_suffix(suffix))?;
        }
        sync_folder(self.url.folder())?;
        // What is left is not part of a store, such as the state of syncs.
        let _ = fs::remove_dir_all(&self.staging);
        Ok(existed.then(|| aside.path().to_owned()))
    }

    /// Removes the staging folder, after a restore that failed.
    pub(crate) fn abandon(self) {
        let _ = fs::remove_dir_all(&self.staging);
    }

    /// Fails when another process has one of the databases open.
    fn check_unused(&self) -> Result<(), StoreError> {
        for database in [self.url.clone(), self.url.ledger_url()] {
            if !database.path().exists() {
                continue;
            }
            // Locks everyone out for a moment. A damaged database may fail in another way, and can be replaced.
            let locked = open::open_for_recovery(&database)
                .and_then(|conn| Ok(conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK")?));
            if locked.is_err_and(|error| error.kind() == StoreErrorKind::Busy) {
                return Err(StoreError::unusable(format!(
                    "another process has {path} open (`fuser {path}` lists it); end it first",
                    path = database.path().display()
                )));
            }
        }
        Ok(())
    }
}

fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn rename_if_exists(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|error| {
            StoreError::unavailable(format!("cannot rename {} to {}: {error}", from.display(), to.display()))
        }),
    }
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::unavailable(format!("cannot create the folder {}: {error}", path.display()))
}
