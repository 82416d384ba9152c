//! Wake-ups of those who wait for something new in the store.

use tokio::sync::watch;

/// The numbers of changes since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct StoreChanges {
    /// Events appended by this process.
    pub(in crate::storage) appended: u64,
    /// Transactions of other connections, such as an operator's. Several may be counted as one.
    pub(in crate::storage) external: u64,
}

/// A subscription to changes that may be of interest to a worker: events appended by this process, and any change by
/// another process. Wake-ups that no one has waited for yet are combined into one. Clones are independent.
///
/// A wake-up is a hint: it can come without a change, and one for a change by another process can come late or be lost
/// with a connection. A subscriber therefore also looks by itself now and then.
#[derive(Clone, Debug)]
pub struct WakeUps(watch::Receiver<StoreChanges>);

impl WakeUps {
    pub(in crate::storage) fn new(changes: &watch::Sender<StoreChanges>) -> Self {
        Self(changes.subscribe())
    }

    /// Forgets the changes so far. Call it before reading the store: a change during the read then wakes at once.
    pub(crate) fn mark_seen(&mut self) {
        self.0.mark_unchanged();
    }

    /// Number of changes by others so far. While it stays the same, the queue of a handler changes by its worker only.
    pub(crate) fn external_changes(&self) -> u64 {
        self.0.borrow().external
    }

    /// Whether something has changed since the last call of [`WakeUps::mark_seen`].
    pub(crate) fn has_changed(&self) -> bool {
        self.0.has_changed().unwrap_or(false)
    }

    /// Completes at the first change since the last call of [`WakeUps::mark_seen`] or of this method.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The store is closed: nothing will ever change.
            std::future::pending::<()>().await;
        }
    }
}
