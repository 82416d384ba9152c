//! State shared by the three appointment functions: the store, the calendar of each company, and the search for free
//! times.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use jiff::ToSpan;

use super::calendar::Calendar;
use crate::base::clock::Clock;
use crate::base::id::EventIdGenerator;
use crate::config::{FieldError, Settings};
use crate::live::{FunctionContext, FunctionOutcome};
use crate::storage::{
    Appointment, AppointmentFilter, AppointmentStore, BookingAction, BookingContext, BookingEventData, BookingOutcome,
    SLOT_STEP_MS, StoreError,
};

/// Number of free times offered in place of one that is not available. A caller cannot remember more than three.
const MAX_OFFERED_SLOTS: usize = 3;
/// Days covered by one occupancy query. It bounds the rows per query; the search continues until the booking horizon.
const DAYS_PER_QUERY: i32 = 14;

pub(super) struct BookingService {
    pub(super) store: Arc<dyn AppointmentStore>,
    clock: Clock,
    event_ids: EventIdGenerator,
    default_calendar: Arc<Calendar>,
    /// Calendars of companies that set `time_zone`, by slug.
    company_calendars: BTreeMap<String, Arc<Calendar>>,
}

/// One invocation of an appointment function, with the calendar of the company that was called.
pub(super) struct AppointmentInvocation<'a> {
    pub(super) booking_service: &'a BookingService,
    pub(super) context: &'a FunctionContext,
    pub(super) calendar: Arc<Calendar>,
    /// Read once, so that every check of this invocation uses the same time.
    pub(super) now_ms: i64,
}

impl BookingService {
    pub(super) fn new(settings: &Settings, store: Arc<dyn AppointmentStore>, clock: Clock) -> Result<Self, FieldError> {
        let calendar = |zone: &str| Calendar::new(&settings.appointments, zone).map(Arc::new);
        let mut company_calendars = BTreeMap::new();
        for company in &settings.companies {
            if let Some(zone) = &company.time_zone {
                company_calendars.insert(company.slug.to_string(), calendar(zone)?);
            }
        }
        let default_calendar = calendar(&settings.appointments.time_zone)?;
        Ok(Self { store, clock, event_ids: EventIdGenerator::default(), default_calendar, company_calendars })
    }

    pub(super) fn new_invocation<'a>(&'a self, context: &'a FunctionContext) -> AppointmentInvocation<'a> {
        let calendar = Arc::clone(self.company_calendars.get(&context.company).unwrap_or(&self.default_calendar));
        AppointmentInvocation { booking_service: self, context, calendar, now_ms: self.clock.now_ms() }
    }
}

impl AppointmentInvocation<'_> {
    /// Waits for the store until the deadline of the function. A store error or a timeout becomes `Failed`, which the
    /// function registry answers with the fallback.
    pub(super) async fn with_deadline<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, FunctionOutcome> {
        match tokio::time::timeout_at(self.context.deadline, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(FunctionOutcome::Failed(error.to_string())),
            Err(_) => Err(FunctionOutcome::Failed("the store did not answer before the deadline".to_owned())),
        }
    }

    /// The outcome that the store recorded for this invocation id, for example before a crash.
    pub(super) async fn previous_outcome(&self) -> Result<Option<BookingOutcome>, FunctionOutcome> {
        let invocation_id = self.context.invocation_id.clone();
        self.with_deadline(self.booking_service.store.find_invocation_outcome(self.context.company_id, invocation_id))
            .await
    }

    pub(super) fn log_booking(&self, action: BookingAction, appointment: &Appointment) {
        let company = self.context.company.as_str();
        let call_id = self.context.call_id.as_deref();
        let number = appointment.confirmation.as_str();
        match action {
            BookingAction::Booked => tracing::info!(company, call_id, number, "appointment booked"),
            BookingAction::Changed => tracing::info!(company, call_id, number, "appointment changed"),
            BookingAction::Cancelled => tracing::info!(company, call_id, number, "appointment cancelled"),
        }
    }

    /// Whether the appointment is still as this invocation left it, so that its stored answer may be repeated.
    ///
    /// A cancellation is never current: running it again is harmless, and the same name may by now belong to another
    /// appointment, which the caller wants to cancel.
    pub(super) async fn is_outcome_current(&self) -> bool {
        let Ok(Some(BookingOutcome::Done(action, recorded))) = self.previous_outcome().await else { return false };
        if action == BookingAction::Cancelled {
            return false;
        }
        let filter = AppointmentFilter {
            company_id: Some(recorded.company_id),
            confirmation: Some(recorded.confirmation.clone()),
            booked_only: true,
            ..AppointmentFilter::default()
        };
        let listed = self.with_deadline(self.booking_service.store.list_appointments(filter)).await;
        // A store error counts as "not current": the function then runs again, which is safe.
        let Some(stored) = listed.ok().and_then(|mut appointments| appointments.pop()) else { return false };
        let same_slot = |a: &Appointment, b: &Appointment| {
            (a.id, a.start_ms, a.end_ms, &a.service) == (b.id, b.start_ms, b.end_ms, &b.service)
        };
        // The time of the update is compared too: a corrected name changes the answer, but not the slot.
        stored.updated_at_ms <= recorded.updated_at_ms && same_slot(&stored, &recorded)
    }

    pub(super) fn booking_context(&self) -> BookingContext {
        BookingContext {
            company_id: self.context.company_id,
            idempotency_key: Some(self.context.invocation_id.clone()),
            now_ms: self.now_ms,
            event: BookingEventData {
                event_id: self.booking_service.event_ids.next_id(self.now_ms),
                time_zone: self.calendar.time_zone.clone(),
                time_zone_name: self.calendar.time_zone_name.clone(),
                call_id: self.context.call_id.clone(),
            },
        }
    }

    /// Start times of the next free slots at or after `from_ms`. If there are none before the horizon, the earliest
    /// free slots of all.
    pub(super) async fn find_free_slots(&self, from_ms: i64, minutes: u16) -> Result<Vec<i64>, FunctionOutcome> {
        let earliest = self.now_ms + self.calendar.notice_ms();
        let free = self.find_free_slots_from(from_ms.max(earliest), minutes).await?;
        if free.is_empty() && from_ms > earliest {
            self.find_free_slots_from(earliest, minutes).await
        } else {
            Ok(free)
        }
    }

    async fn find_free_slots_from(&self, from_ms: i64, minutes: u16) -> Result<Vec<i64>, FunctionOutcome> {
        let calendar = &self.calendar;
        let last_day = calendar.last_bookable_date(self.now_ms);
        let mut day = calendar.local_date(from_ms);
        let mut free = Vec::new();
        while day <= last_day && free.len() < MAX_OFFERED_SLOTS {
            let Ok(until) = day.checked_add(DAYS_PER_QUERY.days()) else { break };
            let from = calendar.start_of_day_ms(day);
            let to = calendar.start_of_day_ms(until);
            let occupancy = self
                .with_deadline(self.booking_service.store.slot_occupancy(self.context.company_id, from, to))
                .await?;
            let occupancy: HashMap<i64, u16> = occupancy.into_iter().collect();
            // A slot needs a free place in every five-minute step that it covers. This is only an offer; the keys of
            // the store decide when it is booked.
            let is_free = |start_ms: &i64| {
                let end_ms = start_ms + i64::from(minutes) * 60_000;
                let mut steps = (*start_ms..end_ms).step_by(usize::try_from(SLOT_STEP_MS).unwrap_or(1));
                steps.all(|step| occupancy.get(&step).is_none_or(|places| *places < calendar.capacity))
            };
            while day < until && day <= last_day && free.len() < MAX_OFFERED_SLOTS {
                let slots = calendar.slot_starts(day, minutes).into_iter().filter(|start_ms| *start_ms >= from_ms);
                free.extend(slots.filter(is_free).take(MAX_OFFERED_SLOTS - free.len()));
                let Ok(next) = day.tomorrow() else { return Ok(free) };
                day = next;
            }
        }
        Ok(free)
    }
}
