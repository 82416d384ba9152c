//! Lists, shows, cancels and exports appointments.

mod calendar_file;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{ItemKind, OperationError, Principal};
use crate::base::clock::Clock;
use crate::base::id::EventIdGenerator;
use crate::privacy::redact;
use crate::storage::{
    Appointment, AppointmentCancellation, AppointmentFilter, AppointmentStore, BookingContext, BookingEventData,
    BookingOutcome,
};
use crate::view::{AppointmentStateView, AppointmentView};

/// Names one appointment as a caller does.
pub(crate) struct AppointmentReference {
    /// The confirmation number in any spelling: numbers are read aloud, and typed with blanks or hyphens.
    pub confirmation: String,
    /// The slug of the company; needed when several companies have the number.
    pub company: Option<String>,
}

/// An iCalendar file (RFC 5545) with names and phone numbers.
pub(crate) struct CalendarExport {
    pub appointments: usize,
    pub text: String,
}

/// Appointments that match the filter, the earliest first; from now on if the filter has no start. Names and numbers
/// are hidden unless `reveal` is set.
pub(crate) async fn list_appointments(
    store: &dyn AppointmentStore,
    clock: &Clock,
    _principal: &Principal,
    filter: AppointmentFilter,
    reveal: bool,
) -> Result<Vec<AppointmentView>, OperationError> {
    let appointments = upcoming_appointments(store, clock, filter).await?;
    Ok(appointments.into_iter().map(|it| appointment_view(it, reveal)).collect())
}

/// Like [`list_appointments`], as a file for calendar programs.
pub(crate) async fn export_appointments(
    store: &dyn AppointmentStore,
    clock: &Clock,
    _principal: &Principal,
    filter: AppointmentFilter,
) -> Result<CalendarExport, OperationError> {
    let appointments = upcoming_appointments(store, clock, filter).await?;
    Ok(CalendarExport { appointments: appointments.len(), text: calendar_file::format_calendar(&appointments) })
}

/// # Errors
/// No appointment or more than one has the number.
pub(crate) async fn show_appointment(
    store: &dyn AppointmentStore,
    _principal: &Principal,
    reference: &AppointmentReference,
    reveal: bool,
) -> Result<AppointmentView, OperationError> {
    Ok(appointment_view(find_appointment(store, reference).await?, reveal))
}

/// Cancels an appointment; handlers receive the same event as when a caller cancels. Canceling it again changes
/// nothing.
///
/// # Errors
/// No appointment or more than one has the number, or the store cannot be written.
pub(crate) async fn cancel_appointment(
    store: &dyn AppointmentStore,
    clock: &Clock,
    principal: &Principal,
    reference: &AppointmentReference,
    reveal: bool,
) -> Result<AppointmentView, OperationError> {
    let appointment = find_appointment(store, reference).await?;
    tracing::info!(%principal, company = appointment.company, "canceling an appointment");
    let now_ms = clock.now_ms();
    let event = BookingEventData {
        event_id: EventIdGenerator::default().next_id(now_ms),
        time_zone: TimeZone::get(&appointment.time_zone).unwrap_or(TimeZone::UTC),
        time_zone_name: appointment.time_zone.clone(),
        call_id: None,
    };
    let context = BookingContext { company_id: appointment.company_id, idempotency_key: None, now_ms, event };
    let cancellation = AppointmentCancellation { context, appointment_id: appointment.id };
    match store.cancel_appointment(cancellation).await? {
        BookingOutcome::Done(_, cancelled) => Ok(appointment_view(*cancelled, reveal)),
        _ => Err(OperationError::not_found(ItemKind::Appointment, "the appointment was deleted in the meantime")),
    }
}

async fn upcoming_appointments(
    store: &dyn AppointmentStore,
    clock: &Clock,
    mut filter: AppointmentFilter,
) -> Result<Vec<Appointment>, OperationError> {
    filter.since_ms.get_or_insert_with(|| clock.now_ms());
    Ok(store.list_appointments(filter).await?)
}

async fn find_appointment(
    store: &dyn AppointmentStore,
    reference: &AppointmentReference,
) -> Result<Appointment, OperationError> {
    let number = reference.confirmation.to_uppercase();
    let filter = AppointmentFilter {
        confirmation: Some(number.chars().filter(char::is_ascii_alphanumeric).collect()),
        company: reference.company.clone(),
        limit: Some(2),
        ..AppointmentFilter::default()
    };
    let mut matching = store.list_appointments(filter).await?;
    let Some(appointment) = matching.pop() else {
        return Err(OperationError::not_found(ItemKind::Appointment, "no appointment has this number"));
    };
    if matching.is_empty() {
        Ok(appointment)
    } else {
        Err(OperationError::Ambiguous {
            kind: ItemKind::Appointment,
            message: "several companies have an appointment with this number".to_owned(),
        })
    }
}

fn appointment_view(it: Appointment, reveal: bool) -> AppointmentView {
    let format_number =
        |number: Option<String>| number.map(|number| if reveal { number } else { redact::phone(&number) });
    AppointmentView {
        confirmation_number: it.confirmation,
        state: if it.cancelled { AppointmentStateView::Cancelled } else { AppointmentStateView::Booked },
        company: it.company,
        start: format_local_time(it.start_ms, &it.time_zone),
        end: format_local_time(it.end_ms, &it.time_zone),
        time_zone: it.time_zone,
        service: it.service,
        name: reveal.then_some(it.name),
        from_number: format_number(it.from_number),
        to_number: format_number(it.to_number),
        call_id: it.call_id,
        revision: it.revision,
        booked_at_ms: it.booked_at_ms,
        updated_at_ms: it.updated_at_ms,
    }
}

/// Formats a time in the time zone of the booking; in UTC if that zone is unknown on this machine.
fn format_local_time(ms: i64, zone: &str) -> String {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let time = Timestamp::from_millisecond(ms).map(|at| at.to_zoned(zone));
    time.map_or_else(|_| ms.to_string(), |time| time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
}
