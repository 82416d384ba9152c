//! The store that `tail` reads: it may not exist yet, be unreadable for a while, or be replaced by another file.

use std::fs;
use std::time::{Duration, Instant};

use super::super::output::CliError;
use super::POLL_INTERVAL;
use crate::base::supervise::Supervisor;
use crate::storage::StoreError;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};

/// While a starting receiver creates or migrates the store, opening it fails; after this time the failure is final.
const OPEN_RETRY_PERIOD: Duration = Duration::from_secs(10);

pub(super) struct FollowedStore {
    url: SqliteUrl,
    store: Option<SqliteStore>,
    /// Inode of the opened file, which shows when another file has replaced it.
    file_id: Option<u64>,
    /// The last read failed, and that has been reported.
    is_failing: bool,
}

impl FollowedStore {
    pub(super) fn new(url: SqliteUrl) -> Self {
        Self { url, store: None, file_id: None, is_failing: false }
    }

    pub(super) fn exists(&self) -> bool {
        self.url.path().exists()
    }

    pub(super) fn store(&self) -> Result<&SqliteStore, StoreError> {
        self.store.as_ref().ok_or_else(|| StoreError::Unavailable("the store is not open".into()))
    }

    /// Opens the store, and waits until it exists.
    pub(super) async fn wait_and_open(&mut self) -> Result<(), CliError> {
        self.store = None;
        if !self.exists() {
            eprintln!(
                "retell-webhook: no store at {} yet; waiting for `retell-webhook serve` to create it (Ctrl-C to stop)",
                self.url.path().display()
            );
        }
        let mut first_failure: Option<Instant> = None;
        loop {
            if self.exists() {
                // Read before opening: if the file is replaced in between, `was_replaced` notices and it is opened
                // again.
                let file_id = file_id(&self.url);
                match SqliteStore::open_read_only(&self.url, &Supervisor::default()) {
                    Ok(store) => {
                        self.store = Some(store);
                        self.file_id = file_id;
                        return Ok(());
                    }
                    Err(error) if first_failure.get_or_insert_with(Instant::now).elapsed() > OPEN_RETRY_PERIOD => {
                        return Err(error.into());
                    }
                    Err(_) => {}
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Whether another file has the path of the store now. While the path does not exist, the opened file is still
    /// read.
    pub(super) fn was_replaced(&self) -> bool {
        let now = file_id(&self.url);
        now.is_some() && now != self.file_id
    }

    /// Reports the first of consecutive failures.
    pub(super) fn report_read_error(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.is_failing, true) {
            eprintln!("retell-webhook: {error}; retrying");
        }
    }

    /// Reports that a failure is over.
    pub(super) fn report_read_ok(&mut self) {
        if std::mem::take(&mut self.is_failing) {
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
