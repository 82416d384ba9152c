//! The durable store of events, deliveries, calls and everything else that is kept: facets (`facets/`), the rows that
//! they exchange, and one engine so far, SQLite (`sqlite/`), which nothing outside this module names.
//!
//! The promise made here: an event for which [`Journal::append`] returned `Ok` survives a crash of the process and of
//! the machine.

mod alarm;
mod appointment;
pub(crate) mod backup;
#[cfg(test)]
mod conformance;
mod delivery;
mod erasure;
mod error;
mod event;
mod facets;
mod identity;
mod inbound;
mod inspection;
mod invocation;
mod leadership;
mod overview;
mod rejected;
mod removal;
mod selection;
mod sqlite;
mod text;
mod wake_ups;

use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use alarm::{ActivityRow, AlarmKind, AlarmRow};
pub(crate) use appointment::{
    Appointment, AppointmentCancellation, AppointmentChange, AppointmentFilter, AppointmentSlot, BookingAction,
    BookingContext, BookingEventData, BookingOutcome, BookingRequest, SLOT_STEP_MS, format_rfc3339,
};
pub(crate) use delivery::{
    AttemptOutcome, AttemptRecord, BodyRecheck, ClaimRequest, ClaimRoom, ClaimedDelivery, DeliveryPlan, HandlerId,
    LeaseToken, PlanBatch, PlanEvents, PlanOutcome, PlanToken, PlannedDelivery, PlannedProgress, QueueUpdate,
    QueueUpdateOutcome, SettledDelivery, Settlement, SkipReason,
};
pub use delivery::{BreakerState, DeliveryState, HandlerRow};
pub(crate) use erasure::{CallKey, DataSubject, ErasureCounts, EventsByHandler, JournalScanResult};
pub(crate) use error::MissingItem;
pub(crate) use error::UnknownValueError;
pub use error::{StoreError, StoreErrorKind};
pub(crate) use event::{
    AppendOutcome, BodyError, BodyErrorKind, EventState, EventSummary, Position, Seq, StoreStats, StoredEvent,
};
pub use event::{DEFAULT_COMPANY_ID, EventFilter, EventOrigin, NewEvent};
pub(crate) use facets::{
    AlarmStore, AppointmentStore, BackupStore, CallStore, CompanyStore, DeliveryAdmin, DeliveryQueue,
    DeliverySelection, ErasureStore, InboundAnswerStore, Journal, Leadership, Maintenance, RejectedStore,
    RetentionStore,
};
pub(crate) use facets::{
    ChangedBatch, CountedBatch, InvocationStore, MAX_ERASED_EVENTS, TotalsCorrection, TotalsPosition, TotalsRebuild,
    TotalsRebuildStep,
};
pub(crate) use identity::Identity;
pub use identity::IdentityKey;
pub(crate) use text::sanitize_text_to;

pub(crate) use inbound::{CallerHistory, InboundAnswerRecord, MAX_COUNTED_CALLS};
pub(crate) use inspection::{
    FindingSeverity, InspectionDepth, InspectionProgress, StoreFile, StoreFinding, StoreInspection,
};
pub(crate) use invocation::{
    BeginInvocationOutcome, EndedInvocation, InvocationFilter, InvocationRow, InvocationState, LatencyFilter,
    LatencyGroup, LatencyGrouping, LatencyGroups, LatencyKey, NewInvocation, SignatureUse, StoredAnswer,
};
#[cfg(test)]
pub(crate) use leadership::ScriptedLeadership;
pub(crate) use leadership::{Duty, DutyLeader};
pub(crate) use overview::{HandlerBacklog, StoreOverview};
pub(crate) use rejected::{MAX_REJECTED_REQUESTS, RejectedFilter, RejectedId, RejectedRequest, StoredRejectedRequest};
pub(crate) use removal::{CascadedCounts, CompanyScope, PurgeBatch, PurgeBatchResult, PurgeCursor, RetentionKind};
pub(crate) use selection::{
    DeliveryBatch, DeliveryChange, DeliveryCount, DeliveryFilter, DeliveryOutlook, DeliveryPage, DeliveryRow,
};
pub(crate) use text::sanitize_text;
use wake_ups::StoreChanges;
pub(crate) use wake_ups::WakeUps;

use crate::base::supervise::Supervisor;
use crate::config::StorageUrl;
pub(crate) use sqlite::{RestorePlace, check_copy};
use sqlite::{SqliteStore, SqliteUrl};

/// All facets of one store. Consumers take the facets that they need; only the code that opens a store has this.
pub trait Store:
    Journal
    + CompanyStore
    + DeliveryQueue
    + DeliveryAdmin
    + CallStore
    + InboundAnswerStore
    + InvocationStore
    + AppointmentStore
    + AlarmStore
    + RejectedStore
    + RetentionStore
    + ErasureStore
    + BackupStore
    + Leadership
    + Maintenance
{
}

/// What a process does with a store that it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives events. Creates the store or updates its schema; a store has one receiver at a time.
    Receiver,
    /// Reads and makes the changes of an operator, also while a receiver is running.
    Operator,
    /// Reads, also while a receiver is running.
    Reader,
}

/// Opens the store at `url`. The threads that serve it run under `supervisor`.
///
/// # Errors
/// [`StoreError`] of the kind `Unusable` when the store was made by a newer version, belongs to another program, cannot
/// be opened or, as a receiver, is used by another one. An operator or reader also gets it for a store that does not
/// exist or has to be updated first.
pub fn open(url: &StorageUrl, role: Role, supervisor: &Supervisor) -> Result<Arc<dyn Store>, StoreError> {
    let url = SqliteUrl::from(url);
    Ok(Arc::new(match role {
        Role::Receiver => SqliteStore::open(&url, supervisor)?,
        Role::Operator => SqliteStore::open_as_operator(&url, supervisor)?,
        Role::Reader => SqliteStore::open_read_only(&url, supervisor)?,
    }))
}

/// Inspects the store at `url` without opening it for use: reading only, also while a receiver is running, and also when
/// the store is damaged.
///
/// # Errors
/// The files cannot be listed. Everything else that is wrong is a finding.
pub(crate) fn inspect(
    url: &StorageUrl,
    depth: InspectionDepth,
    progress: InspectionProgress,
) -> Result<StoreInspection, StoreError> {
    sqlite::inspect(&SqliteUrl::from(url), depth, progress)
}

/// The files of the store at `url` that a running receiver would have locked, and that no receiver has locked.
pub(crate) fn unlocked_files(url: &StorageUrl) -> Vec<PathBuf> {
    sqlite::unlocked_files(&SqliteUrl::from(url))
}

/// Opens the copy of a store in `folder` for the changes of an operator.
///
/// # Errors
/// As [`open`] as an operator.
pub(crate) fn open_copy(folder: &std::path::Path, supervisor: &Supervisor) -> Result<Arc<dyn Store>, StoreError> {
    let url = SqliteUrl::file(folder.join(backup::COPY_NAME));
    Ok(Arc::new(SqliteStore::open_as_operator(&url, supervisor)?))
}

/// What the erasure log of the store at `url` says; `None` when there is none.
///
/// # Errors
/// The log cannot be read.
pub(crate) fn read_erasure_log(url: &StorageUrl) -> Result<Option<backup::ErasureLogContent>, StoreError> {
    backup::read_erasure_log(&SqliteUrl::from(url).erasure_log_path())
}

/// Whether there is a store at `url`. A store that exists may still be unusable.
pub(crate) fn exists(url: &StorageUrl) -> bool {
    url.path().exists()
}
