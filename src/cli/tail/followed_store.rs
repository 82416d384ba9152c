//! The store to read from: not there yet, away for a while, or replaced by another file.

use std::fs;
use std::time::{Duration, Instant};

use super::super::output::CliError;
use super::POLL_INTERVAL;
use crate::base::supervise::Supervisor;
use crate::storage::StoreError;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};

/// A store that is just being made, or updated by a receiver that starts, can be opened within this time.
const OPEN_RETRY_PERIOD: Duration = Duration::from_secs(10);

pub(super) struct FollowedStore {
    url: SqliteUrl,
    store: Option<SqliteStore>,
    /// Tells the opened file from another one under its name.
    file_id: Option<u64>,
    failing: bool,
}

impl FollowedStore {
    pub(super) fn new(url: SqliteUrl) -> Self {
        Self { url, store: None, file_id: None, failing: false }
    }

    pub(super) fn exists(&self) -> bool {
        self.url.path().exists()
    }

    pub(super) fn store(&self) -> Result<&SqliteStore, StoreError> {
        self.store.as_ref().ok_or_else(|| StoreError::Unavailable("it is not open".into()))
    }

    /// Opens the store, waiting for it to be made.
    pub(super) async fn wait_and_open(&mut self) -> Result<(), CliError> {
        self.store = None;
        if !self.exists() {
            eprintln!(
                "retell-webhook: there is no store at {} yet; waiting for `retell-webhook serve` to make it (Ctrl-C ends)",
                self.url.path().display()
            );
        }
        let mut seen: Option<Instant> = None;
        loop {
            if self.exists() {
                let file = file_id(&self.url);
                match SqliteStore::open_read_only(&self.url, &Supervisor::default()) {
                    Ok(store) => {
                        (self.store, self.file_id) = (Some(store), file);
                        return Ok(());
                    }
                    Err(error) if seen.get_or_insert_with(Instant::now).elapsed() > OPEN_RETRY_PERIOD => {
                        return Err(error.into());
                    }
                    Err(_) => {}
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Whether there is another file now under the store's name. While there is none, the opened one is read on.
    pub(super) fn was_replaced(&self) -> bool {
        let now = file_id(&self.url);
        now.is_some() && now != self.file_id
    }

    /// Says once that the store cannot be read for now.
    pub(super) fn report_read_error(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.failing, true) {
            eprintln!("retell-webhook: {error}; trying again");
        }
    }

    /// The store was read.
    pub(super) fn report_read_ok(&mut self) {
        if std::mem::take(&mut self.failing) {
            eprintln!("retell-webhook: the store can be read again");
        }
    }
}

#[cfg(unix)]
fn file_id(url: &SqliteUrl) -> Option<u64> {
    fs::metadata(url.path()).ok().map(|file| std::os::unix::fs::MetadataExt::ino(&file))
}

#[cfg(not(unix))]
fn file_id(url: &SqliteUrl) -> Option<u64> {
    fs::metadata(url.path()).ok().map(|_| 0)
}
