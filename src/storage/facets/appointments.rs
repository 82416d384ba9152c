use async_trait::async_trait;

use crate::base::id::CompanyId;
use crate::storage::{
    Appointment, AppointmentCancellation, AppointmentChange, AppointmentFilter, BookingOutcome, BookingRequest,
    StoreError,
};

/// The store of appointments. `Ok` from a method that writes means that the change and its event are committed and
/// synced; neither is committed without the other. After an error it is safe to repeat the same invocation.
#[async_trait]
pub trait AppointmentStore: Send + Sync {
    /// Books an appointment if every step of its time has a place left.
    ///
    /// A repeated invocation gets the outcome of the first one, and so does a call that requests the same name,
    /// service and time again. Within one call these requests change the call's own appointment instead of making a
    /// second one: the same name at an overlapping time; another spelling of the name at the same time, when no other
    /// place is left.
    async fn book_appointment(&self, booking: BookingRequest) -> Result<BookingOutcome, StoreError>;

    /// Moves an appointment. The old time is released only if the new one is available.
    async fn change_appointment(&self, moving: AppointmentChange) -> Result<BookingOutcome, StoreError>;

    /// Cancels an appointment. Canceling it again changes nothing.
    async fn cancel_appointment(&self, cancelling: AppointmentCancellation) -> Result<BookingOutcome, StoreError>;

    /// The outcome of an earlier run of this invocation.
    async fn find_invocation_outcome(
        &self,
        company_id: CompanyId,
        invocation: String,
    ) -> Result<Option<BookingOutcome>, StoreError>;

    /// Appointments that match the filter, ordered by start.
    async fn list_appointments(&self, filter: AppointmentFilter) -> Result<Vec<Appointment>, StoreError>;

    /// Start and number of occupied places of each step (see [`SLOT_STEP_MS`](crate::storage::SLOT_STEP_MS)) in `[from_ms, to_ms)` that has any,
    /// ordered by start.
    async fn slot_occupancy(
        &self,
        company_id: CompanyId,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(i64, u16)>, StoreError>;
}
