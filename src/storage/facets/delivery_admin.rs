//! Deliveries as an operator sees and changes them, also while a receiver is running on the same store.

use async_trait::async_trait;

use crate::base::id::EventId;
use crate::storage::{
    DeliveryChange, DeliveryCount, DeliveryFilter, DeliveryOutlook, DeliveryPage, HandlerBacklog, LatencyFilter,
    LatencyGroups, Position, StoreError,
};

/// Lists, counts and changes deliveries.
#[async_trait]
pub trait DeliveryAdmin: Send + Sync {
    /// At most `limit` matching deliveries of events before a position, or of all events; the newest event first. Reads a
    /// bounded number of rows, so a page may have fewer deliveries than match, or none.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `NotFound` when an event, handler or company in the filter does not exist.
    async fn list_deliveries(
        &self,
        filter: DeliveryFilter,
        limit: usize,
        before: Option<Position>,
    ) -> Result<DeliveryPage, StoreError>;

    /// The delivery of an event to each handler, or the reason why there is none, by the name of the handler.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `NotFound` when the event does not exist.
    async fn delivery_outlooks(&self, id: EventId) -> Result<Vec<(String, DeliveryOutlook)>, StoreError>;

    /// The backlog of each handler, counted up to `max_counted` deliveries, with the dead letters since
    /// `dead_since_ms`. A row with an unknown value is left out and named in [`HandlerBacklog::damage`], so that the other
    /// figures stay available for alarms.
    async fn list_backlogs(&self, max_counted: usize, dead_since_ms: i64) -> Result<Vec<HandlerBacklog>, StoreError>;

    /// Numbers and durations of the recorded attempts.
    async fn attempt_stats(&self, filter: LatencyFilter) -> Result<LatencyGroups, StoreError>;

    /// Begins to compare the totals behind [`DeliveryAdmin::attempt_stats`] with the attempts, and to correct them.
    async fn rebuild_attempt_totals(&self) -> Result<Box<dyn TotalsRebuild>, StoreError>;

    /// Selects deliveries, to be counted or changed in batches. Events that arrive later are not part of the selection.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `NotFound` as for [`DeliveryAdmin::list_deliveries`].
    async fn select_deliveries(&self, filter: DeliveryFilter) -> Result<Box<dyn DeliverySelection>, StoreError>;
}

/// Selected deliveries, handler by handler, oldest event first. Each one is visited once, even if it returns to a
/// selected state meanwhile: a replayed delivery that dies again is not replayed a second time.
#[async_trait]
pub trait DeliverySelection: Send {
    /// Counts the next deliveries by handler, state and reason, in one step of some milliseconds; `None` at the end.
    async fn count_next(&mut self) -> Result<Option<CountedBatch>, StoreError>;

    /// Changes the next deliveries, at most `limit`, in one step of a few milliseconds; `None` at the end. Deliveries
    /// that have left the selected states meanwhile are not changed.
    ///
    /// # Errors
    /// Nothing of this batch was changed, and the next call tries it again.
    async fn change_next(
        &mut self,
        change: DeliveryChange,
        limit: usize,
        now_ms: i64,
    ) -> Result<Option<ChangedBatch>, StoreError>;
}

/// A running comparison of totals with the rows that they count. The result is correct also while rows change.
#[async_trait]
pub trait TotalsRebuild: Send {
    /// Counts some rows, or corrects some totals, in one step of some milliseconds; `None` at the end.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `Unavailable` when a receiver writes too much during the comparison.
    async fn correct_next(&mut self) -> Result<Option<TotalsRebuildStep>, StoreError>;
}

/// What one step of a [`TotalsRebuild`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TotalsRebuildStep {
    pub counted: u64,
    pub corrected_totals: u64,
    /// About the number of rows in the store.
    pub estimated_rows: u64,
}

/// The numbers of one step. The same handler, state and reason may be counted in several steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedBatch {
    pub counts: Vec<DeliveryCount>,
    /// Events visited so far, out of about `total`, to show progress.
    pub visited: u64,
    pub total: u64,
}

/// What one step of a [`DeliverySelection`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedBatch {
    pub visited: u64,
    pub changed: u64,
}
