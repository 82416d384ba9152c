//! The location of a store: the path of its database, and of the files next to it.

use std::fs;
use std::path::{Path, PathBuf};

use super::FileId;
use crate::config::StorageUrl;
use crate::storage::sqlite::removal;

/// The files of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqliteUrl {
    pub(in crate::storage::sqlite) path: PathBuf,
    /// Limit on the size of the database in pages of 4,096 bytes.
    pub(in crate::storage::sqlite) max_page_count: Option<u32>,
}

impl From<&StorageUrl> for SqliteUrl {
    fn from(url: &StorageUrl) -> Self {
        Self { path: url.path().to_owned(), max_page_count: url.max_page_count() }
    }
}

impl SqliteUrl {
    /// A store whose database is the file at `path`, without a limit on its size.
    pub(crate) fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_page_count: None }
    }

    /// Path of the database file.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the body files, next to the database.
    #[must_use]
    pub(in crate::storage::sqlite) fn bodies_folder(&self) -> PathBuf {
        self.path_with_suffix("-bodies")
    }

    /// The database of the invocation ledger, next to this one.
    #[must_use]
    pub(in crate::storage::sqlite) fn ledger_url(&self) -> Self {
        Self::file(self.path_with_suffix("-ledger"))
    }

    /// Path of the write-ahead log.
    pub(in crate::storage::sqlite) fn wal_path(&self) -> PathBuf {
        self.path_with_suffix("-wal")
    }

    /// The log of erasures, which is not part of a backup.
    pub(in crate::storage) fn erasure_log_path(&self) -> PathBuf {
        self.path_with_suffix("-erasures")
    }

    pub(in crate::storage::sqlite) fn path_with_suffix(&self, suffix: &str) -> PathBuf {
        // On `OsString`, because a path need not be valid UTF-8.
        let mut path = self.path.as_os_str().to_owned();
        path.push(suffix);
        path.into()
    }

    /// Bytes that the store uses on disk: database and ledger with their logs, and body files.
    #[must_use]
    pub(crate) fn size_bytes(&self) -> u64 {
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        let database = |url: &Self| size(url.path.clone()) + size(url.wal_path()) + size(url.path_with_suffix("-shm"));
        let bodies = fs::read_dir(self.bodies_folder()).into_iter().flatten().flatten();
        // Allocated bytes, because a removed body leaves a hole that takes no space; at most the length, because the
        // file system may allocate blocks in advance.
        let bodies = bodies.map(|entry| removal::allocated_bytes(&entry.path()).min(size(entry.path())));
        database(self) + database(&self.ledger_url()) + bodies.sum::<u64>()
    }

    /// The id of the database file; `None` when it does not exist.
    pub(in crate::storage::sqlite) fn file_id(&self) -> Option<FileId> {
        FileId::of_path(&self.path).ok()
    }

    /// The folder of the database.
    #[must_use]
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}
