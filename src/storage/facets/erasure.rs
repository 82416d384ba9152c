//! Erasure of everything that the store holds of one person.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::storage::{
    CallKey, DataSubject, ErasureCounts, EventsByHandler, JournalScanResult, Position, Seq, StoreError,
};

/// Finds and erases the data of one person. The caller repeats both until nothing more is found, because a receiver
/// may be storing events of the person meanwhile.
#[async_trait]
pub trait ErasureStore: Send + Sync {
    /// Searches the part of the journal after this position that can be read in a few milliseconds.
    async fn scan_journal(&self, person: DataSubject, after: Position) -> Result<JournalScanResult, StoreError>;

    /// The calls and chats whose records contain the person's phone number.
    async fn find_calls(&self, person: DataSubject) -> Result<Vec<CallKey>, StoreError>;

    /// Sequence numbers of all events of these calls.
    async fn list_event_seqs_of_calls(&self, calls: BTreeSet<CallKey>) -> Result<BTreeSet<Seq>, StoreError>;

    /// The ids (`evt_…`) of these events; erased ones are left out.
    async fn list_event_ids(&self, seqs: BTreeSet<Seq>) -> Result<Vec<String>, StoreError>;

    /// Counts what an erasure of these events and of the person's other rows would change.
    async fn count_erasable(&self, person: DataSubject, seqs: BTreeSet<Seq>) -> Result<ErasureCounts, StoreError>;

    /// The handlers that received any of these events, with the events.
    async fn list_recipients(&self, seqs: BTreeSet<Seq>) -> Result<EventsByHandler, StoreError>;

    /// Cancels the waiting deliveries of these events. Returns the number of canceled and of running deliveries.
    async fn cancel_deliveries(&self, seqs: Vec<Seq>, now_ms: i64) -> Result<(u64, u64), StoreError>;

    /// Erases these events, at most [`MAX_ERASED_EVENTS`] per call, so that webhook requests do not wait.
    async fn erase_events(&self, seqs: Vec<Seq>, now_ms: i64) -> Result<ErasureCounts, StoreError>;

    /// Erases what the store holds of the person outside the events: records of calls, rejected requests, invocations of
    /// custom functions, appointments, and texts of attempts.
    async fn erase_related_rows(&self, person: DataSubject) -> Result<ErasureCounts, StoreError>;

    /// Files of the store that hold data which no row names, so that it cannot be searched for the person, each with the
    /// reason.
    async fn list_unsearchable_files(&self) -> Result<Vec<String>, StoreError>;

    /// Makes the erased data unreadable in the files of the store, as far as the engine can. `false` when readers
    /// prevented it; the caller tries again.
    async fn finish_erasure(&self) -> Result<bool, StoreError>;
}

/// Maximum number of events per call of [`ErasureStore::erase_events`].
pub(crate) const MAX_ERASED_EVENTS: usize = 25;
