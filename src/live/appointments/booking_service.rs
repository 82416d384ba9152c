//! What the three functions share: the store, the calendars of companies, and how free times are looked for.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use jiff::ToSpan;

use super::calendar::Calendar;
use super::event;
use crate::base::clock::Clock;
use crate::base::id::EventIdGenerator;
use crate::config::{ConfigError, Settings};
use crate::live::{FunctionContext, FunctionOutcome};
use crate::storage::{
    Appointment, AppointmentFilter, AppointmentStore, BookingAction, BookingContext, BookingOutcome, SLOT_STEP_MS,
    StoreError,
};

/// Free times that are offered instead.
const MAX_OFFERED_SLOTS: usize = 3;
/// Days looked at in one question to the store.
const DAYS_PER_QUERY: i32 = 14;

/// Who takes appointments.
pub(super) struct BookingService {
    pub(super) store: Arc<dyn AppointmentStore>,
    clock: Clock,
    event_ids: Arc<EventIdGenerator>,
    default_calendar: Arc<Calendar>,
    /// Of companies with a time zone of their own, by slug.
    company_calendars: BTreeMap<String, Arc<Calendar>>,
}

/// A call of a function, while it is answered.
pub(super) struct AppointmentInvocation<'a> {
    pub(super) booking_service: &'a BookingService,
    pub(super) context: &'a FunctionContext,
    pub(super) calendar: Arc<Calendar>,
    pub(super) now_ms: i64,
}

impl BookingService {
    pub(super) fn new(
        settings: &Settings,
        store: Arc<dyn AppointmentStore>,
        clock: Clock,
    ) -> Result<Self, ConfigError> {
        let calendar = |zone: &str| Calendar::new(&settings.appointments, zone).map(Arc::new);
        let mut own = BTreeMap::new();
        for company in &settings.companies {
            if let Some(zone) = &company.time_zone {
                own.insert(company.slug.clone(), calendar(zone)?);
            }
        }
        let usual = calendar(&settings.appointments.time_zone)?;
        Ok(Self { store, clock, event_ids: Arc::default(), default_calendar: usual, company_calendars: own })
    }

    pub(super) fn new_invocation<'a>(&'a self, context: &'a FunctionContext) -> AppointmentInvocation<'a> {
        let calendar = Arc::clone(self.company_calendars.get(&context.company).unwrap_or(&self.default_calendar));
        AppointmentInvocation { booking_service: self, context, calendar, now_ms: self.clock.now_ms() }
    }
}

impl AppointmentInvocation<'_> {
    /// What the store answers before the deadline, or why not.
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

    /// What this invocation came to before.
    pub(super) async fn previous_outcome(&self) -> Result<Option<BookingOutcome>, FunctionOutcome> {
        let invocation = self.context.invocation_id.clone();
        self.with_deadline(self.booking_service.store.find_invocation_outcome(self.context.company_id, invocation))
            .await
    }

    /// Whether nothing was changed since this invocation did something. Giving up again does no harm, and by a name it may be
    /// another one.
    pub(super) async fn is_outcome_current(&self) -> bool {
        let Ok(Some(BookingOutcome::Done(action, then))) = self.previous_outcome().await else { return false };
        let filter = AppointmentFilter {
            company_id: Some(then.company_id),
            confirmation: Some(then.confirmation.clone()),
            booked_only: true,
            ..AppointmentFilter::default()
        };
        let now = self
            .with_deadline(self.booking_service.store.list_appointments(filter))
            .await
            .ok()
            .and_then(|mut found| found.pop());
        let same = |now: Appointment| {
            let what = |it: Appointment| (it.id, it.start_ms, it.end_ms, it.service);
            now.updated_at_ms <= then.updated_at_ms && what(now) == what(*then)
        };
        action != BookingAction::Cancelled && now.is_some_and(same)
    }

    pub(super) fn booking_context(&self) -> BookingContext {
        BookingContext {
            company_id: self.context.company_id,
            idempotency_key: Some(self.context.invocation_id.clone()),
            now_ms: self.now_ms,
            make_event: event::event_builder(
                &self.booking_service.event_ids,
                &self.calendar,
                self.context.call_id.as_deref(),
            ),
        }
    }

    /// The next free times from `from_ms` on; the earliest of all when there are none.
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
        let (mut day, last) = (calendar.local_date(from_ms), calendar.last_bookable_date(self.now_ms));
        let mut free = Vec::new();
        while day <= last && free.len() < MAX_OFFERED_SLOTS {
            let Ok(until) = day.checked_add(DAYS_PER_QUERY.days()) else { break };
            let (from, to) = (calendar.start_of_day_ms(day), calendar.start_of_day_ms(until));
            let taken = self
                .with_deadline(self.booking_service.store.slot_occupancy(self.context.company_id, from, to))
                .await?;
            let taken: HashMap<i64, u16> = taken.into_iter().collect();
            let is_free = |start_ms: &i64| {
                let end_ms = start_ms + i64::from(minutes) * 60_000;
                let mut steps = (*start_ms..end_ms).step_by(usize::try_from(SLOT_STEP_MS).unwrap_or(1));
                steps.all(|step| taken.get(&step).is_none_or(|places| *places < calendar.capacity))
            };
            while day < until && day <= last && free.len() < MAX_OFFERED_SLOTS {
                let slots = calendar.slot_starts(day, minutes).into_iter().filter(|start_ms| *start_ms >= from_ms);
                free.extend(slots.filter(is_free).take(MAX_OFFERED_SLOTS - free.len()));
                let Ok(next) = day.tomorrow() else { return Ok(free) };
                day = next;
            }
        }
        Ok(free)
    }
}
