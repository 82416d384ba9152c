//! The store that `tail` reads: it may not exist yet, be unreadable for a while, or be replaced by another file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::output::CliError;
use super::POLL_INTERVAL;
use crate::base::supervise::Supervisor;
use crate::config::StorageUrl;
use crate::storage::{self, Role, Store, StoreError};

/// While a starting receiver creates or migrates the store, opening it fails; after this time the failure is final.
const OPEN_RETRY_PERIOD: Duration = Duration::from_secs(10);

pub(super) struct FollowedStore {
    url: StorageUrl,
    store: Option<Arc<dyn Store>>,
    /// The last read failed, and that has been reported.
    is_failing: bool,
}

impl FollowedStore {
    pub(super) fn new(url: StorageUrl) -> Self {
        Self { url, store: None, is_failing: false }
    }

    pub(super) fn exists(&self) -> bool {
        storage::exists(&self.url)
    }

    pub(super) fn store(&self) -> Result<&dyn Store, StoreError> {
        self.store.as_deref().ok_or_else(|| StoreError::unavailable("the store is not open"))
    }

    /// Opens the store, and waits until it exists.
    pub(super) async fn wait_and_open(&mut self) -> Result<(), CliError> {
        self.store = None;
        if !self.exists() {
            eprintln!(
                "retell-webhook: no store at {} yet; waiting for `retell-webhook serve` to create it (Ctrl-C to stop)",
                self.url.location()
            );
        }
        let mut first_failure: Option<Instant> = None;
        loop {
            if self.exists() {
                match storage::open(&self.url, Role::Reader, &Supervisor::default()) {
                    Ok(store) => {
                        self.store = Some(store);
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

    /// Whether another store has taken the place of the opened one.
    pub(super) async fn was_replaced(&self) -> bool {
        match &self.store {
            Some(store) => store.was_replaced().await,
            None => false,
        }
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
