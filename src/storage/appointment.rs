//! Appointments: what is kept of them, and what is asked of whoever keeps them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{NewEvent, StoreError};

/// Appointments occupy these steps of time whole.
pub(crate) const SLOT_STEP_MS: i64 = 5 * 60_000;

/// Where appointments are kept. `Ok` means committed and synced.
#[async_trait]
pub trait AppointmentStore: Send + Sync {
    /// Books, if every part of the time has a place left. The same invocation is told what it was told before; so is the
    /// same call that asks for the same name, service and time again. What it says otherwise of an appointment of its own is
    /// a change of that one: the same name at a time that meets it; another spelling of the name at the same time, where no
    /// other place is left.
    ///
    /// # Errors
    /// [`StoreError`]: sending the same invocation again is safe.
    async fn book_appointment(&self, booking: BookingRequest) -> Result<BookingOutcome, StoreError>;

    /// Moves an appointment: the old time is free only if the new one is got.
    ///
    /// # Errors
    /// [`StoreError`]: sending the same invocation again is safe.
    async fn change_appointment(&self, moving: AppointmentChange) -> Result<BookingOutcome, StoreError>;

    /// Cancels an appointment. One that is cancelled stays so.
    ///
    /// # Errors
    /// [`StoreError`]: sending the same invocation again is safe.
    async fn cancel_appointment(&self, cancelling: AppointmentCancellation) -> Result<BookingOutcome, StoreError>;

    /// What this invocation came to before.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn find_invocation_outcome(
        &self,
        company_id: i64,
        invocation: String,
    ) -> Result<Option<BookingOutcome>, StoreError>;

    /// Appointments that fit, the earliest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_appointments(&self, filter: AppointmentFilter) -> Result<Vec<Appointment>, StoreError>;

    /// How many places are taken, for each step of [`GRAIN_MS`] in `[from_ms, to_ms)` that has any, in their order.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn slot_occupancy(&self, company_id: i64, from_ms: i64, to_ms: i64) -> Result<Vec<(i64, u16)>, StoreError>;
}

/// What is done to an appointment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookingAction {
    /// It was made.
    Booked,
    /// It was moved, or its service was changed.
    Changed,
    /// It was given up.
    Cancelled,
}

impl BookingAction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Booked, Self::Changed, Self::Cancelled];

    /// `booked`, `changed` or `cancelled`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Changed => "changed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An appointment. Texts are at most 256 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Appointment {
    /// Its number in the store.
    pub id: i64,
    /// Whose it is.
    pub company_id: i64,
    /// The company's slug.
    pub company: String,
    /// What the caller is told.
    pub confirmation: String,
    /// Whether it was given up.
    pub cancelled: bool,
    /// Who comes.
    pub name: String,
    /// See [`BookingRequest::name_key`].
    pub name_key: String,
    /// The number called from when it was booked.
    pub from_number: Option<String>,
    /// The number called.
    pub to_number: Option<String>,
    /// The call in which it was booked.
    pub call_id: Option<String>,
    /// What for.
    pub service: Option<String>,
    /// When it begins, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// When it has ended.
    pub end_ms: i64,
    /// The time zone in which it was booked.
    pub time_zone: String,
    /// How often it was changed or cancelled.
    pub revision: i64,
    /// When it was booked.
    pub booked_at_ms: i64,
    /// When it was changed last.
    pub updated_at_ms: i64,
}

/// A time, and how many may share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppointmentSlot {
    /// When it begins; a multiple of [`GRAIN_MS`], as `end_ms` is.
    pub start_ms: i64,
    /// When it has ended.
    pub end_ms: i64,
    /// What for.
    pub service: Option<String>,
    /// Appointments at the same time.
    pub capacity: u16,
}

/// Who asks, and how it is made known.
#[derive(Clone)]
pub struct BookingContext {
    /// Whose appointment.
    pub company_id: i64,
    /// The key of this invocation; `None` where nothing is asked twice.
    pub idempotency_key: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Makes the event that is appended in the same transaction.
    pub make_event: BookingEventFactory,
}

/// Makes the event about what was done to an appointment.
pub(crate) type BookingEventFactory = Arc<dyn Fn(BookingAction, &Appointment) -> NewEvent + Send + Sync>;

/// An appointment to be made.
#[derive(Clone)]
pub struct BookingRequest {
    /// Who asks.
    pub context: BookingContext,
    /// When.
    pub slot: AppointmentSlot,
    /// Confirmation numbers to choose from: the first that is free is taken.
    pub confirmation_candidates: Vec<String>,
    /// Who comes.
    pub name: String,
    /// The name reduced to what it is compared by.
    pub name_key: String,
    /// The number called from.
    pub from_number: Option<String>,
    /// The number called.
    pub to_number: Option<String>,
    /// The call.
    pub call_id: Option<String>,
    /// The time zone in which it was said.
    pub time_zone: String,
}

/// An appointment to be moved.
#[derive(Clone)]
pub struct AppointmentChange {
    /// Who asks.
    pub context: BookingContext,
    /// Which one.
    pub appointment_id: i64,
    /// To when.
    pub new_slot: AppointmentSlot,
}

/// An appointment to be given up.
#[derive(Clone)]
pub struct AppointmentCancellation {
    /// Who asks.
    pub context: BookingContext,
    /// Which one.
    pub appointment_id: i64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookingOutcome {
    /// This was done, now or by the same invocation before; with the appointment as it was then.
    Done(BookingAction, Box<Appointment>),
    /// There is no place left at that time.
    Unavailable,
    /// There is no such appointment, or it is cancelled.
    NotFound,
}

/// Which appointments to look at. The default is all.
#[derive(Clone, Debug, Default)]
pub struct AppointmentFilter {
    /// Of this company, by number.
    pub company_id: Option<i64>,
    /// Of this company, by slug.
    pub company: Option<String>,
    /// With this confirmation number.
    pub confirmation: Option<String>,
    /// Of whoever is compared by this; see [`BookingRequest::name_key`].
    pub name_key: Option<String>,
    /// Beginning at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// Beginning before this time.
    pub until_ms: Option<i64>,
    /// Without those that are cancelled.
    pub booked_only: bool,
    /// At most so many.
    pub limit: Option<usize>,
}

// By hand: names and numbers are a person's.
impl fmt::Debug for Appointment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appointment")
            .field("id", &self.id)
            .field("company_id", &self.company_id)
            .field("cancelled", &self.cancelled)
            .field("start_ms", &self.start_ms)
            .field("end_ms", &self.end_ms)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}
