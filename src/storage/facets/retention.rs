//! Removal of data past its retention, and of the space it took.

use async_trait::async_trait;

use crate::storage::{PurgeBatch, PurgeBatchResult, StoreError};

/// Removes old data in batches of a few milliseconds.
#[async_trait]
pub trait RetentionStore: Send + Sync {
    /// Removes a batch of data past its retention, which takes a few milliseconds. An event with an unfinished
    /// delivery stays. Sequence numbers are never reused.
    ///
    /// # Errors
    /// Nothing was removed.
    async fn purge_batch(&self, purge: PurgeBatch) -> Result<PurgeBatchResult, StoreError>;

    /// Returns some of the space of removed data to the file system, and reports whether there is more. Bodies freed
    /// since `freed_before_ms` stay, because a reader may still read them.
    async fn reclaim_space(&self, freed_before_ms: i64) -> Result<bool, StoreError>;

    /// Bytes in use, without the space that [`RetentionStore::reclaim_space`] is going to return.
    async fn used_bytes(&self) -> Result<u64, StoreError>;

    /// Counts what [`RetentionStore::purge_batch`] would remove.
    async fn count_purgeable(&self, purge: PurgeBatch) -> Result<PurgeBatchResult, StoreError>;
}
