//! The answers to inbound requests.

use async_trait::async_trait;

use crate::base::id::EventId;
use crate::storage::{InboundAnswerRecord, StoreError};

/// Keeps the answers to inbound requests, so that a repeated request gets the same one. Reads do not wait for other
/// reads, because a caller is waiting.
#[async_trait]
pub trait InboundAnswerStore: Send + Sync {
    /// Stores the answer to an inbound request. If there is one already, it stays.
    async fn insert_inbound_answer(&self, answered: InboundAnswerRecord) -> Result<(), StoreError>;

    /// The stored answer to an inbound request. Read by the same thread as [`CallStore::caller_history`](crate::storage::CallStore::caller_history).
    async fn get_inbound_answer(&self, event_id: EventId) -> Result<Option<InboundAnswerRecord>, StoreError>;
}
