use serde::Serialize;

use super::named_value::named_values;

named_values! {
    /// Whether an appointment takes place.
    AppointmentStateView {
        Booked = "booked",
        Cancelled = "cancelled",
    }
}

/// An appointment. Times without `_ms` are RFC 3339 in the time zone of the booking.
#[derive(Serialize)]
pub(crate) struct AppointmentView {
    /// The number that the caller was given.
    pub confirmation_number: String,
    pub state: AppointmentStateView,
    /// The slug of the company.
    pub company: String,
    pub start: String,
    pub end: String,
    /// The IANA time zone in which it was booked.
    pub time_zone: String,
    pub service: Option<String>,
    /// The name of the person who comes; `None` when personal data is hidden.
    pub name: Option<String>,
    /// Masked when personal data is hidden.
    pub from_number: Option<String>,
    /// Masked when personal data is hidden.
    pub to_number: Option<String>,
    pub call_id: Option<String>,
    /// Number of changes, cancellation included.
    pub revision: i64,
    pub booked_at_ms: i64,
    pub updated_at_ms: i64,
}
