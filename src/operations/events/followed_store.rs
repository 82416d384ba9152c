//! A store that is followed: it may not exist yet, be unreadable for a while, or be replaced by another one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::tail::POLL_INTERVAL;
use crate::base::supervise::Supervisor;
use crate::config::{Settings, StorageUrl};
use crate::storage::{self, Role, Store, StoreError};

/// While a starting receiver creates or migrates the store, opening it fails; after this time the failure is final.
const OPEN_RETRY_PERIOD: Duration = Duration::from_secs(10);

pub(super) struct FollowedStore {
    url: StorageUrl,
    store: Option<Arc<dyn Store>>,
    first_open_failure: Option<Instant>,
}

impl FollowedStore {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { url: settings.storage.url.clone(), store: None, first_open_failure: None }
    }

    pub(super) fn exists(&self) -> bool {
        storage::exists(&self.url)
    }

    /// Where the store is, for people.
    pub(super) fn location(&self) -> String {
        self.url.location()
    }

    pub(super) fn is_open(&self) -> bool {
        self.store.is_some()
    }

    pub(super) fn store(&self) -> Result<Arc<dyn Store>, StoreError> {
        self.store.clone().ok_or_else(|| StoreError::unavailable("the store is not open"))
    }

    pub(super) fn close(&mut self) {
        self.store = None;
        self.first_open_failure = None;
    }

    /// Waits until the store exists and opens it.
    pub(super) async fn wait_and_open(&mut self) -> Result<(), StoreError> {
        loop {
            if self.exists() {
                match storage::open(&self.url, Role::Reader, &Supervisor::default()) {
                    Ok(store) => {
                        self.store = Some(store);
                        return Ok(());
                    }
                    Err(error) if self.has_failed_for_too_long() => return Err(error),
                    Err(_) => {}
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn has_failed_for_too_long(&mut self) -> bool {
        self.first_open_failure.get_or_insert_with(Instant::now).elapsed() > OPEN_RETRY_PERIOD
    }

    /// Whether another store has taken the place of the opened one.
    pub(super) async fn was_replaced(&self) -> bool {
        match &self.store {
            Some(store) => store.was_replaced().await,
            None => false,
        }
    }
}
