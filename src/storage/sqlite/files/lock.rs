//! The lock that a receiver holds on its store. It is on the files themselves (database and bodies folder), not on a
//! separate file: a lock file that is deleted would let a second receiver start on the same store.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::FileId;
use crate::storage::StoreError;
use crate::storage::sqlite::SqliteUrl;
use crate::storage::sqlite::open::{create_private_folder, open_private_file};

/// How long a lock is waited for: [`is_locked`] holds it for a moment, and must not keep a receiver from starting.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The databases that this process has locked, now or before.
///
/// SQLite locks a database with POSIX locks, which the operating system drops when the process closes any descriptor
/// of the file. The descriptor of a lock is therefore opened before SQLite opens the file, and closed only when the
/// file has no name any more, so that no other process depends on those locks.
static DATABASES: Mutex<Vec<LockedDatabase>> = Mutex::new(Vec::new());

struct LockedDatabase {
    id: FileId,
    file: File,
    /// Whether a receiver in this process holds the lock. The file lock alone does not tell: it belongs to the
    /// descriptor.
    in_use: bool,
}

/// Prevents a second receiver from writing the same store. Each would look up duplicates in its own memory and store
/// the events of the other again, and both would write bodies to the same places. The lock also proves that a previous
/// receiver is gone, so its leases can be released.
pub(in crate::storage::sqlite) struct StoreLock {
    database: FileId,
    bodies_folder: File,
}

impl StoreLock {
    /// Locks the store at `url`. Creates the database as an empty file, and the bodies folder, if they are missing.
    pub(in crate::storage::sqlite) fn acquire(url: &SqliteUrl) -> Result<Self, StoreError> {
        let folder = url.bodies_folder();
        // What exists is locked before anything is created: a start that is refused leaves nothing at the paths of a
        // running receiver.
        let existing_folder = folder.exists().then(|| lock_bodies_folder(&folder)).transpose()?;
        let database = lock_database(url.path())?;
        match existing_folder.map_or_else(|| lock_bodies_folder(&folder), Ok) {
            Ok(bodies_folder) => Ok(Self { database, bodies_folder }),
            Err(error) => {
                release_database(database);
                Err(error)
            }
        }
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        release_database(self.database);
        // Explicitly: closing the file does not unlock it while a child process (exec handler) that is just being
        // started still holds a copy of the descriptor.
        let _ = self.bodies_folder.unlock();
    }
}

fn lock_database(path: &Path) -> Result<FileId, StoreError> {
    let mut databases = lock_databases();
    databases.retain(|database| database.in_use || has_name(&database.file));
    let cannot_open = |error: io::Error| {
        StoreError::unusable(format!(
            "cannot create {}: {error}; make the folder writable for this user, or set storage.url (DATABASE_URL) to \
             another path",
            path.display()
        ))
    };
    let known = FileId::of_path(path).ok().and_then(|id| databases.iter().position(|database| database.id == id));
    let index = if let Some(index) = known {
        index
    } else {
        let file = open_private_file(path).map_err(cannot_open)?;
        databases.push(LockedDatabase { id: FileId::of_file(&file).map_err(cannot_open)?, file, in_use: false });
        databases.len() - 1
    };
    let database = &mut databases[index];
    if database.in_use {
        return Err(already_used(path));
    }
    wait_for_lock(&database.file, path)?;
    if !FileId::of_path(path).is_ok_and(|id| id == database.id) {
        let _ = database.file.unlock();
        return Err(StoreError::unusable(format!("{} was replaced during the start; start again", path.display())));
    }
    database.in_use = true;
    Ok(database.id)
}

fn release_database(id: FileId) {
    if let Some(database) = lock_databases().iter_mut().find(|database| database.id == id) {
        database.in_use = false;
        let _ = database.file.unlock();
    }
}

/// A second lock, because a database that was replaced while a receiver runs is not locked by it, but the bodies of
/// both would go to the same files.
fn lock_bodies_folder(folder: &Path) -> Result<File, StoreError> {
    let failed = |error: io::Error| {
        StoreError::unusable(format!(
            "cannot open the bodies folder {}: {error}; make it readable and writable for this user",
            folder.display()
        ))
    };
    create_private_folder(folder).map_err(failed)?;
    let opened = File::open(folder).map_err(failed)?;
    wait_for_lock(&opened, folder)?;
    Ok(opened)
}

fn wait_for_lock(file: &File, path: &Path) -> Result<(), StoreError> {
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if started.elapsed() < ACQUIRE_TIMEOUT => {
                std::thread::sleep(RETRY_INTERVAL);
            }
            Err(TryLockError::WouldBlock) => return Err(already_used(path)),
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::unusable(format!("cannot lock {}: {error}", path.display())));
            }
        }
    }
}

fn already_used(path: &Path) -> StoreError {
    StoreError::unusable(format!(
        "another receiver already writes {}; stop it first, or set storage.url (DATABASE_URL) of this one to another \
         file",
        path.display()
    ))
}

/// The locked files of the store at `url` that no receiver has locked, as far as that can be found out. Call it before
/// this process opens the database with SQLite, see [`DATABASES`].
pub(in crate::storage) fn unlocked_files(url: &SqliteUrl) -> Vec<PathBuf> {
    let files = [url.path().to_owned(), url.bodies_folder()];
    files.into_iter().filter(|path| is_locked(path) == Some(false)).collect()
}

/// Whether a receiver holds the lock on this database or bodies folder; `None` when that cannot be found out.
fn is_locked(path: &Path) -> Option<bool> {
    let databases = lock_databases();
    let id = FileId::of_path(path).ok()?;
    let known = databases.iter().find(|database| database.id == id);
    if known.is_some_and(|database| database.in_use) {
        return Some(true);
    }
    let opened;
    let file = match known {
        Some(database) => &database.file,
        None => {
            opened = File::open(path).ok()?;
            &opened
        }
    };
    match file.try_lock_shared() {
        Ok(()) => {
            let _ = file.unlock();
            Some(false)
        }
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => None,
    }
}

fn lock_databases() -> MutexGuard<'static, Vec<LockedDatabase>> {
    DATABASES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
fn has_name(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| std::os::unix::fs::MetadataExt::nlink(&metadata) > 0)
}

#[cfg(not(unix))]
fn has_name(_: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(folder: &tempfile::TempDir) -> SqliteUrl {
        SqliteUrl::file(folder.path().join("events.db"))
    }

    #[test]
    fn a_store_is_locked_once_per_process_and_again_after_its_release() {
        let folder = tempfile::tempdir().unwrap();
        let url = url(&folder);
        let lock = StoreLock::acquire(&url).unwrap();
        let second = StoreLock::acquire(&url).err().unwrap().to_string();
        assert!(second.contains("another receiver already writes"), "{second}");
        assert_eq!(is_locked(url.path()), Some(true));
        assert_eq!(is_locked(&url.bodies_folder()), Some(true));
        drop(lock);
        assert_eq!(is_locked(&url.bodies_folder()), Some(false));
        StoreLock::acquire(&url).unwrap();
    }

    #[test]
    fn a_replaced_database_with_the_same_bodies_is_locked_too() {
        let folder = tempfile::tempdir().unwrap();
        let url = url(&folder);
        let _lock = StoreLock::acquire(&url).unwrap();
        std::fs::remove_file(url.path()).unwrap();
        let second = StoreLock::acquire(&url).err().unwrap().to_string();
        assert!(second.contains("events.db-bodies"), "{second}");
        std::fs::rename(url.bodies_folder(), folder.path().join("elsewhere")).unwrap();
        StoreLock::acquire(&url).unwrap();
    }

    /// A descriptor that is closed would take SQLite's own locks with it.
    #[test]
    fn a_failed_second_start_keeps_the_locks_of_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        let url = url(&folder);
        let _lock = StoreLock::acquire(&url).unwrap();
        let conn = rusqlite::Connection::open(url.path()).unwrap();
        conn.execute_batch("CREATE TABLE t (a); BEGIN IMMEDIATE").unwrap();
        assert!(StoreLock::acquire(&url).is_err());
        assert_eq!(is_locked(url.path()), Some(true));
        // POSIX locks never conflict within a process, so another one has to look.
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(url.path()).unwrap());
        let posix_locks = locks.lines().filter(|line| line.contains("POSIX") && line.contains(&format!(":{inode} ")));
        assert!(locks.is_empty() || posix_locks.count() > 0, "{locks}");
    }
}
