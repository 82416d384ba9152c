//! What the three functions share: the store, the calendars of companies, and how free times are looked for.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use jiff::ToSpan;

use super::event;
use super::hours::Calendar;
use crate::answers::{Called, FunctionContext};
use crate::base::clock::Clock;
use crate::base::id::EventIds;
use crate::config::{ConfigError, Settings};
use crate::storage::{Appointment, AppointmentFilter, AppointmentStore, Arranged, Asked, Deed, GRAIN_MS, StoreError};

/// Free times that are offered instead.
const OFFERED: usize = 3;
/// Days looked at in one question to the store.
const DAYS_AT_ONCE: i32 = 14;

/// Who takes appointments.
pub(super) struct Desk {
    pub(super) store: Arc<dyn AppointmentStore>,
    clock: Clock,
    ids: Arc<EventIds>,
    usual: Arc<Calendar>,
    /// Of companies with a time zone of their own, by slug.
    own: BTreeMap<String, Arc<Calendar>>,
}

/// A call of a function, while it is answered.
pub(super) struct Visit<'a> {
    pub(super) desk: &'a Desk,
    pub(super) context: &'a FunctionContext,
    pub(super) calendar: Arc<Calendar>,
    pub(super) now_ms: i64,
}

impl Desk {
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
        Ok(Self { store, clock, ids: Arc::default(), usual, own })
    }

    pub(super) fn visit<'a>(&'a self, context: &'a FunctionContext) -> Visit<'a> {
        let calendar = Arc::clone(self.own.get(&context.company).unwrap_or(&self.usual));
        Visit { desk: self, context, calendar, now_ms: self.clock.now_ms() }
    }
}

impl Visit<'_> {
    /// What the store answers before the deadline, or why not.
    pub(super) async fn wait<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, Called> {
        match tokio::time::timeout_at(self.context.deadline, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Called::Failed(error.to_string())),
            Err(_) => Err(Called::Failed("the store did not answer before the deadline".to_owned())),
        }
    }

    /// What this invocation came to before.
    pub(super) async fn before(&self) -> Result<Option<Arranged>, Called> {
        let invocation = self.context.invocation.clone();
        self.wait(self.desk.store.appointment_invocation(self.context.company_id, invocation)).await
    }

    /// Whether nothing was changed since this invocation did something. Giving up again does no harm, and by a name it may be
    /// another one.
    pub(super) async fn still_holds(&self) -> bool {
        let Ok(Some(Arranged::Done(deed, then))) = self.before().await else { return false };
        let filter = AppointmentFilter {
            company_id: Some(then.company_id),
            confirmation: Some(then.confirmation.clone()),
            booked_only: true,
            ..AppointmentFilter::default()
        };
        let now = self.wait(self.desk.store.appointments(filter)).await.ok().and_then(|mut found| found.pop());
        let same = |now: Appointment| {
            let what = |it: Appointment| (it.id, it.start_ms, it.end_ms, it.service);
            now.changed_at_ms <= then.changed_at_ms && what(now) == what(*then)
        };
        deed != Deed::Cancelled && now.is_some_and(same)
    }

    pub(super) fn asked(&self) -> Asked {
        Asked {
            company_id: self.context.company_id,
            invocation: Some(self.context.invocation.clone()),
            now_ms: self.now_ms,
            announce: event::announce(&self.desk.ids, &self.calendar, self.context.call_id.as_deref()),
        }
    }

    /// The next free times from `from_ms` on; the earliest of all when there are none.
    pub(super) async fn free(&self, from_ms: i64, minutes: u16) -> Result<Vec<i64>, Called> {
        let earliest = self.now_ms + self.calendar.notice_ms();
        let free = self.free_from(from_ms.max(earliest), minutes).await?;
        if free.is_empty() && from_ms > earliest { self.free_from(earliest, minutes).await } else { Ok(free) }
    }

    async fn free_from(&self, from_ms: i64, minutes: u16) -> Result<Vec<i64>, Called> {
        let calendar = &self.calendar;
        let (mut day, last) = (calendar.today(from_ms), calendar.last_day(self.now_ms));
        let mut free = Vec::new();
        while day <= last && free.len() < OFFERED {
            let Ok(until) = day.checked_add(DAYS_AT_ONCE.days()) else { break };
            let (from, to) = (calendar.begin_of(day), calendar.begin_of(until));
            let taken = self.wait(self.desk.store.places_taken(self.context.company_id, from, to)).await?;
            let taken: HashMap<i64, u16> = taken.into_iter().collect();
            let is_free = |start_ms: &i64| {
                let end_ms = start_ms + i64::from(minutes) * 60_000;
                let mut steps = (*start_ms..end_ms).step_by(usize::try_from(GRAIN_MS).unwrap_or(1));
                steps.all(|step| taken.get(&step).is_none_or(|places| *places < calendar.capacity))
            };
            while day < until && day <= last && free.len() < OFFERED {
                let slots = calendar.slots(day, minutes).into_iter().filter(|start_ms| *start_ms >= from_ms);
                free.extend(slots.filter(is_free).take(OFFERED - free.len()));
                let Ok(next) = day.tomorrow() else { return Ok(free) };
                day = next;
            }
        }
        Ok(free)
    }
}
