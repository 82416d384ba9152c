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
pub mod sqlite;
mod text;

use async_trait::async_trait;
use bytes::Bytes;

pub use alarm::{ActivityRow, AlarmRow};
pub use appointment::{
    Announce, Appointment, AppointmentFilter, AppointmentStore, Arranged, Asked, Booking, Cancelling, Deed, GRAIN_MS,
    Moving, Slot,
};
pub use call::{
    CallFilter, CallKind, CallRecord, CallStats, Cost, E2eLatency, Group, Grouping, Sources, Stage, StatsFilter,
    StatsRow, Totals, TransferEvent,
};
pub use delivery::{
    AttemptRecord, BreakerState, Claim, Claimed, DeliveryState, HandlerId, HandlerRow, Planned, Settled, Settlement,
    Skip,
};
pub use error::StoreError;
pub use event::{Appended, DEFAULT_COMPANY, EventFilter, EventSummary, INTERNAL, NewEvent, StoreStats, StoredEvent};

pub use identity::{Identity, IdentityKey};
pub use inbound::{CallerHistory, InboundAnswered, MOST_COUNTED};
pub use invocation::{
    Begun, EndedInvocation, InvocationFilter, InvocationRow, InvocationState, Invocations, NewInvocation, SignatureUse,
    StoredAnswer,
};
pub use overview::{Backlog, Overview};
pub use rejected::{InvalidRejectedId, MOST_REJECTED, Rejected, RejectedId, Rejection};
pub use removal::{Along, Companies, Kept, Purge, PurgeCursor, Purged};
pub use selection::{Change, Chosen, Counted, DeliveryFilter, DeliveryRow, Fate};
pub use text::{bounded, bounded_to};

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
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError>;

    /// The ids of these companies, in the same order; one that is new gets an id, which it keeps for ever.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn company_ids(&self, slugs: Vec<String>) -> Result<Vec<i64>, StoreError>;

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
    async fn unplanned(
        &self,
        handler: HandlerId,
        limit: usize,
        bodies: bool,
    ) -> Result<Vec<(EventSummary, Option<Bytes>)>, StoreError>;

    /// Makes deliveries of these events, and notes that the handler has looked at everything up to `through`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn plan(
        &self,
        handler: HandlerId,
        planned: Vec<Planned>,
        through: i64,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// Takes deliveries that are due, for as long as the lease. Of a call whose events wait for each other, only the first.
    /// Companies get equal shares. It costs the same however many wait.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn claim(&self, handler: HandlerId, claim: Claim) -> Result<Vec<Claimed>, StoreError>;

    /// When the next delivery of this handler may be taken, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn next_due(&self, handler: HandlerId) -> Result<Option<i64>, StoreError>;

    /// Records attempts and what they led to. A delivery that was ended by somebody else meanwhile stays ended.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn settle(&self, handler: HandlerId, settled: Vec<Settled>, now_ms: i64) -> Result<(), StoreError>;

    /// Shows that attempts at this handler rest, or do not.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn note_breaker(&self, handler: HandlerId, state: BreakerState, now_ms: i64) -> Result<(), StoreError>;

    /// How many events were appended since the store was opened; two looks tell how busy intake is.
    fn appended_so_far(&self) -> u64;

    /// Resolves when more than `seen` events were appended, see [`Store::appended_so_far`].
    async fn appended_beyond(&self, seen: u64);

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
    async fn caller(&self, company_id: i64, number: &str) -> Result<CallerHistory, StoreError>;

    /// Keeps what an inbound request was answered. The first answer stays.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn keep_inbound_answer(&self, answered: InboundAnswered) -> Result<(), StoreError>;

    /// What an inbound request was answered; by the same thread as [`Store::caller`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn inbound_answer(&self, event_id: EventId) -> Result<Option<InboundAnswered>, StoreError>;

    /// Stored events, newest first unless the filter says otherwise; without bodies.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn events(&self, filter: EventFilter) -> Result<Vec<EventSummary>, StoreError>;

    /// One event with its body.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError>;

    /// Events with a higher sequence number than `after`, oldest first, with bodies, at most about 2 MiB of them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn export(&self, after: i64, filter: EventFilter) -> Result<Vec<StoredEvent>, StoreError>;

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
    async fn overview(&self, now_ms: i64) -> Result<Overview, StoreError>;

    /// What each handler has not finished, of it at most `counted` deliveries, and how many died since `dead_since_ms`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn backlogs(&self, counted: usize, dead_since_ms: i64) -> Result<Vec<Backlog>, StoreError>;

    /// These alarms are on, and no others.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn note_alarms(&self, alarms: Vec<AlarmRow>) -> Result<(), StoreError>;

    /// The alarms that are on, or were when the receiver stopped; the one that is on for longest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn alarms(&self) -> Result<Vec<AlarmRow>, StoreError>;

    /// Keeps counts of hours in the place of earlier counts of the same; hours before `forget_before` are forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn note_activity(&self, rows: Vec<ActivityRow>, forget_before: Option<i64>) -> Result<(), StoreError>;

    /// All counts of hours there are.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn activity(&self) -> Result<Vec<ActivityRow>, StoreError>;

    /// Calls or chats, the one with the latest event first; without what was said in them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn calls(&self, filter: CallFilter) -> Result<Vec<CallRecord>, StoreError>;

    /// One call or chat.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn call(&self, kind: CallKind, call_id: &str) -> Result<Option<CallRecord>, StoreError>;

    /// Figures over calls or chats.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn call_stats(&self, filter: StatsFilter) -> Result<CallStats, StoreError>;

    /// Deliveries that fit, the newest event first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Missing`] when an event, handler or company the filter names is not there.
    async fn deliveries(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryRow>, StoreError>;

    /// What became of an event, for each handler by name.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Missing`] when there is no such event.
    async fn fates(&self, id: EventId) -> Result<Vec<(String, Fate)>, StoreError>;

    /// Keeps a refused request among the latest [`MOST_REJECTED`].
    ///
    /// # Errors
    /// [`StoreError`]: it was not kept, which nobody needs to know.
    async fn reject(&self, request: Rejection) -> Result<RejectedId, StoreError>;

    /// Refused requests, the latest first, without bodies.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn rejected(&self, limit: usize) -> Result<Vec<Rejected>, StoreError>;

    /// One refused request, with its body if that was kept.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn rejected_by_id(&self, id: RejectedId) -> Result<Option<Rejected>, StoreError>;

    /// Removes a batch of what is past its time; a few milliseconds. Numbers of events are never used again. An event whose
    /// deliveries are not finished stays.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was removed.
    async fn purge(&self, purge: Purge) -> Result<Purged, StoreError>;

    /// Gives some of the space of what was removed back to the file system; says whether there is more. Bodies that were
    /// freed since `freed_before_ms` stay: somebody may be reading them.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn give_back_space(&self, freed_before_ms: i64) -> Result<bool, StoreError>;

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
