//! The journal: every accepted event, in the order in which it was stored.

use async_trait::async_trait;

use crate::base::id::EventId;
use crate::storage::{AppendOutcome, EventFilter, EventSummary, NewEvent, Position, StoreError, StoredEvent, WakeUps};

/// Stores events and reads them back.
///
/// `Ok` from [`Journal::append`] is the promise of the product: the event survives a crash of the process and of the
/// machine. Reads see everything that was acknowledged before they began.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Stores `event` unless it is a duplicate. `Ok` means committed and synced to disk.
    ///
    /// Events that wait together share one commit. An event whose columns cannot be stored is stored without them, in
    /// the state `unparsed`, and does not affect the others.
    ///
    /// # Errors
    /// Nothing of the event was stored; sending it again later is safe.
    async fn append(&self, event: NewEvent) -> Result<AppendOutcome, StoreError>;

    /// Stored events without bodies, newest first.
    async fn list_events(&self, filter: EventFilter) -> Result<Vec<EventSummary>, StoreError>;

    /// One event with its body.
    async fn get_event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError>;

    /// Events after this position, oldest first, with about 2 MiB of bodies at most (a single larger
    /// body is returned alone).
    async fn export_events(&self, after: Position, filter: EventFilter) -> Result<Vec<StoredEvent>, StoreError>;

    /// The position after the last event accepted before `ms` (since the Unix epoch).
    async fn position_before(&self, ms: i64) -> Result<Position, StoreError>;

    /// Number of events stored since the store was opened, duplicates excluded. Two readings show how busy intake is.
    fn appended_count(&self) -> u64;

    /// Subscribes to appended events and to changes by other processes.
    fn subscribe(&self) -> WakeUps;

    /// The position after the newest event ever stored, erased ones included.
    async fn last_position(&self) -> Result<Position, StoreError>;
}
