//! The durable store of events, deliveries, calls and everything else that is kept. One trait, [`Store`], and one
//! engine so far, SQLite.
//!
//! The promise made here: an event for which [`Store::append`] returned `Ok` survives a crash of the process and of
//! the machine.

mod alarm;
mod appointment;
mod delivery;
mod error;
mod event;
mod identity;
mod inbound;
mod invocation;
mod overview;
mod rejected;
mod removal;
mod selection;
pub(crate) mod sqlite;
mod text;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use alarm::{ActivityRow, AlarmRow};
pub(crate) use appointment::{
    Appointment, AppointmentCancellation, AppointmentChange, AppointmentFilter, AppointmentSlot, AppointmentStore,
    BookingAction, BookingContext, BookingEventFactory, BookingOutcome, BookingRequest, SLOT_STEP_MS,
};
pub(crate) use delivery::{
    AttemptRecord, ClaimRequest, ClaimedDelivery, HandlerId, PlannedDelivery, SettledDelivery, Settlement, SkipReason,
};
pub use delivery::{BreakerState, DeliveryState, HandlerRow};
pub use error::StoreError;
pub(crate) use event::{AppendOutcome, EventSummary, INTERNAL_KEY_FINGERPRINT, StoreStats, StoredEvent};
pub use event::{DEFAULT_COMPANY_ID, EventFilter, NewEvent};
pub(crate) use identity::Identity;
pub use identity::IdentityKey;
pub(crate) use text::sanitize_text_to;

pub(crate) use inbound::{CallerHistory, InboundAnswerRecord, MAX_COUNTED_CALLS};
pub(crate) use invocation::{
    BeginInvocationOutcome, EndedInvocation, InvocationFilter, InvocationRow, InvocationState, InvocationStore,
    NewInvocation, SignatureUse, StoredAnswer,
};
pub(crate) use overview::{HandlerBacklog, StoreOverview};
pub(crate) use rejected::{MAX_REJECTED_REQUESTS, RejectedId, RejectedRequest, StoredRejectedRequest};
pub(crate) use removal::{CascadedCounts, CompanyScope, PurgeBatch, PurgeBatchResult, PurgeCursor, RetentionKind};
pub(crate) use selection::{
    DeliveryBatch, DeliveryChange, DeliveryCount, DeliveryFilter, DeliveryOutlook, DeliveryRow,
};
pub(crate) use text::sanitize_text;

use crate::base::id::EventId;
use crate::calls::{CallFilter, CallKind, CallRecord, CallStats, CallStatsFilter};

/// A durable store. Methods return [`StoreError::Unavailable`] when the store cannot be read or written for now, and
/// nothing was changed then.
///
/// A write waits a few seconds for the lock of another process, and before that for the writes in front of it; the
/// caller bounds the total with a timeout. A write whose caller has given up may still be carried out.
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores `event` unless it is a duplicate. `Ok` means committed and synced to disk.
    ///
    /// Events that wait together share one commit. An event whose columns cannot be stored is stored without them, in
    /// the state `unparsed`, and does not affect the others.
    ///
    /// # Errors
    /// Nothing of the event was stored; sending it again later is safe.
    async fn append(&self, event: NewEvent) -> Result<AppendOutcome, StoreError>;

    /// The ids of these companies, in the same order. A new company gets an id, which never changes.
    async fn get_or_create_company_ids(&self, slugs: Vec<String>) -> Result<Vec<i64>, StoreError>;

    /// Checks by a write that the store can be written. Waits at most 1 s, and reuses the result for 1 s.
    ///
    /// # Errors
    /// The reason why the store cannot be written.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Registers a handler and how its deliveries are ordered. A new handler gets the events that are stored from now
    /// on.
    async fn register_handler(&self, handler: HandlerRow) -> Result<HandlerId, StoreError>;

    /// Events for which no deliveries have been planned yet for this handler, oldest first, at most `limit`. With
    /// `bodies` the batch also ends at about 2 MiB of bodies; a body that cannot be read is `None`.
    async fn unplanned_events(
        &self,
        handler: HandlerId,
        limit: usize,
        bodies: bool,
    ) -> Result<Vec<(EventSummary, Option<Bytes>)>, StoreError>;

    /// Inserts deliveries and moves the handler's position in the journal to `through`, in one step: after a crash no
    /// event is planned twice and none is passed over.
    async fn plan_deliveries(
        &self,
        handler: HandlerId,
        planned: Vec<PlannedDelivery>,
        through: i64,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// Claims deliveries that are due until the end of the lease; of a call sequence only the first. Companies get
    /// equal shares. The cost does not depend on the number of waiting deliveries.
    async fn claim_deliveries(
        &self,
        handler: HandlerId,
        claim: ClaimRequest,
    ) -> Result<Vec<ClaimedDelivery>, StoreError>;

    /// When the next delivery of this handler is due, in milliseconds since the Unix epoch.
    async fn next_due_ms(&self, handler: HandlerId) -> Result<Option<i64>, StoreError>;

    /// Records attempts and their outcomes. A delivery that an operator has ended meanwhile stays ended.
    async fn settle_deliveries(
        &self,
        handler: HandlerId,
        settled: Vec<SettledDelivery>,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// Stores the state of a handler's circuit breaker, for `status` and the metrics.
    async fn update_breaker_state(
        &self,
        handler: HandlerId,
        state: BreakerState,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// Number of successful appends since the store was opened. Two readings show how busy intake is.
    fn appended_count(&self) -> u64;

    /// Completes when [`Store::appended_count`] differs from `seen`.
    async fn wait_for_append(&self, seen: u64);

    /// Merges the values of one event into the row of its call or chat, see `CallRecord::merge`.
    async fn merge_call(&self, call: CallRecord) -> Result<(), StoreError>;

    /// Earlier calls between a phone number and a company, in either direction. Read by a separate thread, because a
    /// caller is waiting and other reads can take long.
    async fn caller_history(&self, company_id: i64, number: &str) -> Result<CallerHistory, StoreError>;

    /// Stores the answer to an inbound request. If there is one already, it stays.
    async fn insert_inbound_answer(&self, answered: InboundAnswerRecord) -> Result<(), StoreError>;

    /// The stored answer to an inbound request. Read by the same thread as [`Store::caller_history`].
    async fn get_inbound_answer(&self, event_id: EventId) -> Result<Option<InboundAnswerRecord>, StoreError>;

    /// Stored events without bodies, newest first.
    async fn list_events(&self, filter: EventFilter) -> Result<Vec<EventSummary>, StoreError>;

    /// One event with its body.
    async fn get_event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError>;

    /// Events with a sequence number above `after`, oldest first, with about 2 MiB of bodies at most (a single larger
    /// body is returned alone).
    async fn export_events(&self, after: i64, filter: EventFilter) -> Result<Vec<StoredEvent>, StoreError>;

    /// The sequence number of the last event accepted before `ms` (since the Unix epoch); 0 when there is none.
    async fn seq_before(&self, ms: i64) -> Result<i64, StoreError>;

    /// Numbers of accepted events at `now_ms`, and the backlogs of the handlers. Takes milliseconds regardless of the
    /// number of events.
    async fn overview(&self, now_ms: i64) -> Result<StoreOverview, StoreError>;

    /// The backlog of each handler, counted up to `max_counted` deliveries, with the dead letters since
    /// `dead_since_ms`.
    async fn list_backlogs(&self, max_counted: usize, dead_since_ms: i64) -> Result<Vec<HandlerBacklog>, StoreError>;

    /// Makes `alarms` the set of raised alarms.
    async fn replace_alarms(&self, alarms: Vec<AlarmRow>) -> Result<(), StoreError>;

    /// The raised alarms, or those that were raised when the receiver stopped; the one raised first comes first.
    async fn list_alarms(&self) -> Result<Vec<AlarmRow>, StoreError>;

    /// Replaces the event counts of the hours in `rows`, and deletes hours before `forget_before` (hours since the
    /// Unix epoch).
    async fn upsert_activity(&self, rows: Vec<ActivityRow>, forget_before: Option<i64>) -> Result<(), StoreError>;

    /// All stored hourly event counts, in no particular order.
    async fn list_activity(&self) -> Result<Vec<ActivityRow>, StoreError>;

    /// Calls or chats, the one with the latest event first. Without summary and custom analysis data.
    async fn list_calls(&self, filter: CallFilter) -> Result<Vec<CallRecord>, StoreError>;

    /// One call or chat, with summary and custom analysis data.
    async fn get_call(&self, kind: CallKind, call_id: &str) -> Result<Option<CallRecord>, StoreError>;

    /// Statistics of calls or chats, test calls excluded.
    async fn call_stats(&self, filter: CallStatsFilter) -> Result<CallStats, StoreError>;

    /// At most `limit` matching deliveries, the newest event first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when an event, handler or company in the filter does not exist.
    async fn list_deliveries(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>, StoreError>;

    /// The delivery of an event to each handler, or the reason why there is none, by the name of the handler.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the event does not exist.
    async fn delivery_outlooks(&self, id: EventId) -> Result<Vec<(String, DeliveryOutlook)>, StoreError>;

    /// Stores a rejected request; only the latest `MAX_REJECTED_REQUESTS` are kept.
    async fn insert_rejected(&self, request: RejectedRequest) -> Result<RejectedId, StoreError>;

    /// Rejected requests without bodies, the latest first.
    async fn list_rejected(&self, limit: usize) -> Result<Vec<StoredRejectedRequest>, StoreError>;

    /// One rejected request, with its body if it was stored.
    async fn get_rejected(&self, id: RejectedId) -> Result<Option<StoredRejectedRequest>, StoreError>;

    /// Removes a batch of data past its retention, which takes a few milliseconds. An event with an unfinished
    /// delivery stays. Sequence numbers are never reused.
    ///
    /// # Errors
    /// Nothing was removed.
    async fn purge_batch(&self, purge: PurgeBatch) -> Result<PurgeBatchResult, StoreError>;

    /// Returns some of the space of removed data to the file system, and reports whether there is more. Bodies freed
    /// since `freed_before_ms` stay, because a reader may still read them.
    async fn reclaim_space(&self, freed_before_ms: i64) -> Result<bool, StoreError>;

    /// Bytes in use, without the space that [`Store::reclaim_space`] is going to return.
    async fn used_bytes(&self) -> Result<u64, StoreError>;

    /// Figures about commits, the identity index and the backlogs, for metrics.
    async fn stats(&self) -> Result<StoreStats, StoreError>;

    /// Finishes the accepted writes and closes the store. Later writes fail.
    ///
    /// # Errors
    /// The writes did not finish in time. What was acknowledged is on disk nevertheless.
    async fn close(&self) -> Result<(), StoreError>;
}
