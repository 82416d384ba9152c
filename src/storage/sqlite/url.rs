//! Where a store lies: its file, and what lies beside it.

use std::fs;
use std::path::{Path, PathBuf};

use super::removal;
use crate::storage::StoreError;

/// `sqlite://<path>[?max_page_count=<n>]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteUrl {
    path: PathBuf,
    pub(super) max_page_count: Option<u32>,
}

impl SqliteUrl {
    /// Takes the text of `storage.url` apart. `max_page_count` bounds the database file, in pages of 4096 bytes; large
    /// bodies lie outside it.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when it has another form.
    pub fn parse(url: &str) -> Result<Self, StoreError> {
        let bad = || {
            StoreError::Unusable(
                "storage.url: expected sqlite://<path>, such as sqlite://data/retell-webhook.db".into(),
            )
        };
        let rest = url.strip_prefix("sqlite://").filter(|rest| !rest.is_empty()).ok_or_else(bad)?;
        let Some((path, query)) = rest.split_once('?') else {
            return Ok(Self { path: rest.into(), max_page_count: None });
        };
        let pages = query.strip_prefix("max_page_count=").and_then(|pages| pages.parse().ok()).ok_or_else(|| {
            StoreError::Unusable(
                "storage.url: the only option after `?` is max_page_count=<number of 4096-byte pages>".into(),
            )
        })?;
        Ok(Self { path: path.into(), max_page_count: Some(pages) })
    }

    /// The store in the file at `path`.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_page_count: None }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder beside the file that holds large bodies.
    #[must_use]
    pub(super) fn bodies_folder(&self) -> PathBuf {
        self.path_with_suffix("-bodies")
    }

    /// The database beside this one that holds the ledger of invocations.
    #[must_use]
    pub(super) fn ledger_url(&self) -> Self {
        Self::file(self.path_with_suffix("-ledger"))
    }

    /// The file's write-ahead log.
    pub(super) fn wal_path(&self) -> PathBuf {
        self.path_with_suffix("-wal")
    }

    pub(super) fn path_with_suffix(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(suffix);
        path.into()
    }

    /// Bytes that the store takes on disk: the database and the ledger with their logs, and the large bodies beside them.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        let database = |url: &Self| size(url.path.clone()) + size(url.wal_path()) + size(url.path_with_suffix("-shm"));
        let bodies = fs::read_dir(self.bodies_folder()).into_iter().flatten().flatten();
        // What was removed from the middle of a file takes no space any more.
        let bodies = bodies.map(|entry| removal::allocated_bytes(&entry.path()).min(size(entry.path())));
        database(self) + database(&self.ledger_url()) + bodies.sum::<u64>()
    }

    /// The folder that holds the file, and beside it the development key.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}
