//! Where events are kept. One trait, [`Store`]; SQLite is the engine built so far.
//!
//! The promise made here: what [`Store::append`] answered `Ok` for survives a crash of the process and of the machine.

mod alarm;
mod appointment;
mod call;
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
pub(crate) use call::{
    CallFilter, CallGroup, CallGrouping, CallKind, CallRecord, CallStage, CallStats, CallStatsFilter, CallStatsRow,
    CallTotals, Cost, E2eLatency, TransferKind, ValueSources,
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

/// A durable store. A lock of another process is waited for a few seconds; how long a caller waits for its turn is the
/// caller's to bound. A write that its caller gave up on may still be carried out.
#[async_trait]
pub trait Store: Send + Sync {
    /// Keeps `event` unless it is known already. `Ok` means committed and synced to disk.
    ///
    /// Requests that wait together share one commit. An event the store refuses for what is in its columns is kept
    /// again without them, as unparsed, and takes no other down.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of the event was kept; sending it again later is safe.
    async fn append(&self, event: NewEvent) -> Result<AppendOutcome, StoreError>;

    /// The ids of these companies, in the same order; one that is new gets an id, which it keeps for ever.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn get_or_create_company_ids(&self, slugs: Vec<String>) -> Result<Vec<i64>, StoreError>;

    /// Whether the store can be written right now, found out by writing; waits at most a second, and remembers the answer
    /// for one.
    ///
    /// # Errors
    /// The reason why not.
    async fn probe(&self) -> Result<(), StoreError>;

    /// Makes a handler known, and how its events are ordered. One that is new starts with the events accepted from now on.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn register_handler(&self, handler: HandlerRow) -> Result<HandlerId, StoreError>;

    /// Events this handler has not looked at yet, oldest first, at most `limit`; with `bodies` also at most about 2 MiB of
    /// them. A body that cannot be read any more is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn unplanned_events(
        &self,
        handler: HandlerId,
        limit: usize,
        bodies: bool,
    ) -> Result<Vec<(EventSummary, Option<Bytes>)>, StoreError>;

    /// Makes deliveries of these events, and notes that the handler has looked at everything up to `through`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn plan_deliveries(
        &self,
        handler: HandlerId,
        planned: Vec<PlannedDelivery>,
        through: i64,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// Takes deliveries that are due, for as long as the lease. Of a call whose events wait for each other, only the first.
    /// Companies get equal shares. It costs the same however many wait.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn claim_deliveries(
        &self,
        handler: HandlerId,
        claim: ClaimRequest,
    ) -> Result<Vec<ClaimedDelivery>, StoreError>;

    /// When the next delivery of this handler may be taken, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn next_due_ms(&self, handler: HandlerId) -> Result<Option<i64>, StoreError>;

    /// Records attempts and what they led to. A delivery that was ended by somebody else meanwhile stays ended.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn settle_deliveries(
        &self,
        handler: HandlerId,
        settled: Vec<SettledDelivery>,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// Shows that attempts at this handler rest, or do not.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn update_breaker_state(
        &self,
        handler: HandlerId,
        state: BreakerState,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// How many events were appended since the store was opened; two looks tell how busy intake is.
    fn appended_count(&self) -> u64;

    /// Resolves when more than `seen` events were appended, see [`Store::appended_so_far`].
    async fn wait_for_append(&self, seen: u64);

    /// Merges what one event says about a call or chat into its row, see [`CallRecord::merge`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn merge_call(&self, call: CallRecord) -> Result<(), StoreError>;

    /// What is known of earlier calls between a number and a company, whoever called. Answered by a thread of its own, which
    /// other reads do not hold up: somebody waits on the line.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn caller_history(&self, company_id: i64, number: &str) -> Result<CallerHistory, StoreError>;

    /// Keeps what an inbound request was answered. The first answer stays.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn insert_inbound_answer(&self, answered: InboundAnswerRecord) -> Result<(), StoreError>;

    /// What an inbound request was answered; by the same thread as [`Store::caller`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn get_inbound_answer(&self, event_id: EventId) -> Result<Option<InboundAnswerRecord>, StoreError>;

    /// Stored events, newest first unless the filter says otherwise; without bodies.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_events(&self, filter: EventFilter) -> Result<Vec<EventSummary>, StoreError>;

    /// One event with its body.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn get_event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError>;

    /// Events with a higher sequence number than `after`, oldest first, with bodies, at most about 2 MiB of them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn export_events(&self, after: i64, filter: EventFilter) -> Result<Vec<StoredEvent>, StoreError>;

    /// The sequence number of the last event accepted before `ms` (since the Unix epoch); 0 when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn seq_before(&self, ms: i64) -> Result<i64, StoreError>;

    /// How much was accepted until `now_ms`, and how far the handlers have come. Takes milliseconds, however many events
    /// there are.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn overview(&self, now_ms: i64) -> Result<StoreOverview, StoreError>;

    /// What each handler has not finished, of it at most `counted` deliveries, and how many died since `dead_since_ms`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_backlogs(&self, counted: usize, dead_since_ms: i64) -> Result<Vec<HandlerBacklog>, StoreError>;

    /// These alarms are on, and no others.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn replace_alarms(&self, alarms: Vec<AlarmRow>) -> Result<(), StoreError>;

    /// The alarms that are on, or were when the receiver stopped; the one that is on for longest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_alarms(&self) -> Result<Vec<AlarmRow>, StoreError>;

    /// Keeps counts of hours in the place of earlier counts of the same; hours before `forget_before` are forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn upsert_activity(&self, rows: Vec<ActivityRow>, forget_before: Option<i64>) -> Result<(), StoreError>;

    /// All counts of hours there are.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_activity(&self) -> Result<Vec<ActivityRow>, StoreError>;

    /// Calls or chats, the one with the latest event first; without what was said in them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_calls(&self, filter: CallFilter) -> Result<Vec<CallRecord>, StoreError>;

    /// One call or chat.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn get_call(&self, kind: CallKind, call_id: &str) -> Result<Option<CallRecord>, StoreError>;

    /// Figures over calls or chats.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn call_stats(&self, filter: CallStatsFilter) -> Result<CallStats, StoreError>;

    /// Deliveries that fit, the newest event first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Missing`] when an event, handler or company the filter names is not there.
    async fn list_deliveries(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>, StoreError>;

    /// What became of an event, for each handler by name.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Missing`] when there is no such event.
    async fn delivery_outlooks(&self, id: EventId) -> Result<Vec<(String, DeliveryOutlook)>, StoreError>;

    /// Keeps a refused request among the latest [`MOST_REJECTED`].
    ///
    /// # Errors
    /// [`StoreError`]: it was not kept, which nobody needs to know.
    async fn insert_rejected(&self, request: RejectedRequest) -> Result<RejectedId, StoreError>;

    /// Refused requests, the latest first, without bodies.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_rejected(&self, limit: usize) -> Result<Vec<StoredRejectedRequest>, StoreError>;

    /// One refused request, with its body if that was kept.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn get_rejected(&self, id: RejectedId) -> Result<Option<StoredRejectedRequest>, StoreError>;

    /// Removes a batch of what is past its time; a few milliseconds. Numbers of events are never used again. An event whose
    /// deliveries are not finished stays.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was removed.
    async fn purge_batch(&self, purge: PurgeBatch) -> Result<PurgeBatchResult, StoreError>;

    /// Gives some of the space of what was removed back to the file system; says whether there is more. Bodies that were
    /// freed since `freed_before_ms` stay: somebody may be reading them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn reclaim_space(&self, freed_before_ms: i64) -> Result<bool, StoreError>;

    /// Bytes that are in use, space about to be given back not included.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn used_bytes(&self) -> Result<u64, StoreError>;

    /// How the store is doing, for whoever operates it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn stats(&self) -> Result<StoreStats, StoreError>;

    /// Finishes what was accepted and closes. Later calls fail.
    ///
    /// # Errors
    /// It did not finish in time; what was acknowledged is on disk all the same.
    async fn close(&self) -> Result<(), StoreError>;
}
