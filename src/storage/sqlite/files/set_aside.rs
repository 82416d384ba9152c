//! Files that are moved to another name next to the store, because the receiver cannot use them and must not destroy
//! them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::SqliteUrl;
use crate::base::clock::Clock;
use crate::storage::StoreError;

/// Renames the file to `<path>.<reason>-<time>`, and returns that path; `None` when the file does not exist.
fn set_aside(path: &Path, reason: &str) -> Result<Option<PathBuf>, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{reason}-{}", Clock::system().now_ms()));
    match fs::rename(path, &name) {
        Ok(()) => Ok(Some(name.into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::unusable(format!(
            "cannot rename {}: {error}; make its folder writable for this user, or move the file away",
            path.display()
        ))),
    }
}

/// As [`set_aside`], for a database with its log. The index of the log is not kept, because SQLite makes it again.
pub(in crate::storage::sqlite) fn set_aside_database(
    database: &SqliteUrl,
    reason: &str,
) -> Result<Option<PathBuf>, StoreError> {
    let Some(moved_to) = set_aside(database.path(), reason)? else { return Ok(None) };
    let moved_log = SqliteUrl::file(moved_to.clone()).wal_path();
    let moved = fs::rename(database.wal_path(), &moved_log).or_else(ignore_missing);
    moved.and_then(|()| fs::remove_file(database.path_with_suffix("-shm")).or_else(ignore_missing)).map_err(
        |error| StoreError::unusable(format!("cannot rename the log of {}: {error}", database.path().display())),
    )?;
    Ok(Some(moved_to))
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Keeps a write-ahead log whose database is missing, because SQLite would delete it: when the database is put back,
/// the log may hold what is missing there. The database may exist as an empty file.
pub(in crate::storage::sqlite) fn set_aside_log_without_database(database: &SqliteUrl) -> Result<(), StoreError> {
    let is_empty = |path: &Path| fs::metadata(path).map_or(true, |file| file.len() == 0);
    if !is_empty(database.path()) || is_empty(&database.wal_path()) {
        return Ok(());
    }
    if let Some(path) = set_aside(&database.wal_path(), "orphaned")? {
        tracing::error!(
            path = %path.display(),
            next = "if the database was moved away, stop the receiver, put the database back, and rename this file to \
                    that of its log; otherwise delete it",
            "write-ahead log without its database"
        );
    }
    Ok(())
}
