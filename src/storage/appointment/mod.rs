//! Appointments, and the requests to book, move and cancel them.

mod event;

use std::fmt;

use jiff::tz::TimeZone;

pub(super) use self::event::booking_event;
pub(crate) use self::event::format_rfc3339;
use crate::base::id::{CompanyId, EventId};

/// The calendar is divided into steps of this length; an appointment occupies whole steps. Short, so that occupancy
/// stays comparable when the length of slots is changed in the settings.
pub(crate) const SLOT_STEP_MS: i64 = 5 * 60_000;

/// A change of an appointment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookingAction {
    Booked,
    /// The time or the service was changed.
    Changed,
    Cancelled,
}

impl BookingAction {
    pub const ALL: [Self; 3] = [Self::Booked, Self::Changed, Self::Cancelled];

    /// The name in events and in the store: `booked`, `changed` or `cancelled`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Booked => "booked",
            Self::Changed => "changed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The action with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

/// A stored appointment. Texts are at most 256 bytes. Times are milliseconds since the Unix epoch.
#[derive(Clone, PartialEq, Eq)]
pub struct Appointment {
    pub id: i64,
    pub company_id: CompanyId,
    /// The slug of the company.
    pub company: String,
    /// The confirmation number that the caller was given.
    pub confirmation: String,
    pub cancelled: bool,
    /// The name of the person who comes.
    pub name: String,
    /// The name in the form for comparison, see [`BookingRequest::name_key`].
    pub name_key: String,
    /// The caller's number in the call that booked it.
    pub from_number: Option<String>,
    pub to_number: Option<String>,
    /// The call that booked it.
    pub call_id: Option<String>,
    pub service: Option<String>,
    pub start_ms: i64,
    /// The first millisecond after the appointment.
    pub end_ms: i64,
    /// The IANA time zone in which it was booked.
    pub time_zone: String,
    /// Number of changes, cancellation included.
    pub revision: i64,
    pub booked_at_ms: i64,
    pub updated_at_ms: i64,
}

/// The time that an appointment occupies, and how many appointments may share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppointmentSlot {
    /// Milliseconds since the Unix epoch; a multiple of [`SLOT_STEP_MS`], as is `end_ms`.
    pub start_ms: i64,
    pub end_ms: i64,
    pub service: Option<String>,
    /// Number of appointments that may take place at the same time.
    pub capacity: u16,
}

/// What every change of an appointment carries: company, idempotency key, time, and data for its event.
#[derive(Clone)]
pub struct BookingContext {
    pub company_id: CompanyId,
    /// The idempotency key of the invocation; `None` for changes that are never repeated.
    pub idempotency_key: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// For the event that is appended in the same transaction.
    pub event: BookingEventData,
}

/// What an event about a change contains in addition to the appointment.
#[derive(Clone)]
pub struct BookingEventData {
    /// Generated for this change; begins with its time.
    pub event_id: EventId,
    /// The time zone in which the event states the times.
    pub time_zone: TimeZone,
    /// The IANA name of `time_zone`.
    pub time_zone_name: String,
    /// The call during which the change is made; `None` for a change by an operator.
    pub call_id: Option<String>,
}

/// A request to book an appointment.
#[derive(Clone)]
pub struct BookingRequest {
    pub context: BookingContext,
    pub slot: AppointmentSlot,
    /// Random confirmation numbers; the first one that the company does not use yet is assigned.
    pub confirmation_candidates: Vec<String>,
    /// The name of the person who comes.
    pub name: String,
    /// The name in the form in which names are compared: lower-case letters and digits only.
    pub name_key: String,
    pub from_number: Option<String>,
    pub to_number: Option<String>,
    pub call_id: Option<String>,
    /// The IANA time zone in which the caller was told the time.
    pub time_zone: String,
}

/// A request to move an appointment.
#[derive(Clone)]
pub struct AppointmentChange {
    pub context: BookingContext,
    pub appointment_id: i64,
    pub new_slot: AppointmentSlot,
}

/// A request to cancel an appointment.
#[derive(Clone)]
pub struct AppointmentCancellation {
    pub context: BookingContext,
    pub appointment_id: i64,
}

/// The outcome of a request to book, move or cancel an appointment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookingOutcome {
    /// The change was made now or by an earlier run of the same invocation. Holds the appointment as it was then.
    Done(BookingAction, Box<Appointment>),
    /// No place is left at that time.
    Unavailable,
    /// The appointment does not exist or is canceled.
    NotFound,
}

/// Selects appointments; all set conditions must hold. The default selects all.
#[derive(Clone, Debug, Default)]
pub struct AppointmentFilter {
    pub company_id: Option<CompanyId>,
    /// The slug of the company.
    pub company: Option<String>,
    pub confirmation: Option<String>,
    /// The name in the form for comparison, see [`BookingRequest::name_key`].
    pub name_key: Option<String>,
    /// Earliest start, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// The start must be before this time.
    pub until_ms: Option<i64>,
    pub booked_only: bool,
    pub limit: Option<usize>,
}

// Written by hand, so that names and phone numbers do not get into logs.
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
