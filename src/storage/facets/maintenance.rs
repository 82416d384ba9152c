//! The store as a whole: whether it can be written, its figures, and its end.

use async_trait::async_trait;

use crate::storage::{StoreError, StoreOverview, StoreStats};

/// Checks, measures and closes a store.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// Checks by writes that an event would be stored, one with a large body included, and that a restart would find
    /// it. Waits at most 1 s, and reuses the result for 1 s.
    ///
    /// # Errors
    /// The reason why events are not stored.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Checks by a write that an invocation of a custom function would be recorded, as [`Maintenance::probe`] does for
    /// events.
    ///
    /// # Errors
    /// The reason why invocations are not recorded.
    async fn probe_invocations(&self) -> Result<(), StoreError>;

    /// Which files of this store were deleted or replaced while it is open, and what to do: a restart would not open the
    /// files that this store reads and writes. `None` while all are in place.
    fn file_difference(&self) -> Option<String>;

    /// Files next to the store that hold data which it lacks, such as a damaged ledger that was set aside: what each is,
    /// and what to do. They stay until an operator removes them.
    async fn notes(&self) -> Vec<String>;

    /// Numbers of accepted events at `now_ms`, and the backlogs of the handlers. Takes milliseconds regardless of the
    /// number of events.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `CorruptRow` when a row has an unknown value.
    async fn overview(&self, now_ms: i64) -> Result<StoreOverview, StoreError>;

    /// Figures about commits, the identity index and the backlogs, for metrics.
    async fn stats(&self) -> Result<StoreStats, StoreError>;

    /// Finishes the accepted writes and closes the store. Later writes fail.
    ///
    /// # Errors
    /// The writes did not finish in time. What was acknowledged is on disk nevertheless.
    async fn close(&self) -> Result<(), StoreError>;

    /// Where the store is, for people: a path, or a URL without its password.
    fn location(&self) -> String;

    /// Bytes that the store uses on disk.
    async fn size_bytes(&self) -> Result<u64, StoreError>;

    /// Whether another store has taken the place of this one since it was opened, such as a restored backup. What is
    /// read from then on is from the old one.
    async fn was_replaced(&self) -> bool;
}
