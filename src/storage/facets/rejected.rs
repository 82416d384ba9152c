use async_trait::async_trait;

use crate::storage::{RejectedFilter, RejectedId, RejectedRequest, StoreError, StoredRejectedRequest};

/// Keeps the latest rejected requests in a ring buffer.
#[async_trait]
pub trait RejectedStore: Send + Sync {
    /// Stores a rejected request; only the latest `MAX_REJECTED_REQUESTS` are kept.
    async fn insert_rejected(&self, request: RejectedRequest) -> Result<RejectedId, StoreError>;

    /// Rejected requests without bodies, the latest first.
    async fn list_rejected(
        &self,
        filter: RejectedFilter,
        limit: usize,
    ) -> Result<Vec<StoredRejectedRequest>, StoreError>;

    /// One rejected request, with its body if it was stored.
    async fn get_rejected(&self, id: RejectedId) -> Result<Option<StoredRejectedRequest>, StoreError>;
}
