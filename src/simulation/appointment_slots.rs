//! The appointment slots that simulated callers ask for: free ones by the local settings and the company's time zone.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value};

use crate::config::{AppointmentSettings, FieldError, OpeningHours, Settings, parse_time_zone};

/// Number of open days from which slots are taken. In most settings every call of a run gets its own slot; otherwise
/// the receiver offers alternatives.
const MAX_DAYS: usize = 14;
const MINUTE_MS: i64 = 60_000;
/// Added to the minimum notice, because calls at the end of a run start later.
const START_MARGIN_MS: i64 = 10 * MINUTE_MS;

/// The slots that can be booked, in local time.
pub(super) struct SimulatedSlots {
    starts: Vec<DateTime>,
    /// Number of slots on the first open day.
    first_day_count: usize,
    service_name: Option<String>,
}

impl SimulatedSlots {
    pub(super) fn from_settings(settings: &Settings, company: Option<&str>, now_ms: i64) -> Result<Self, FieldError> {
        let appointments = &settings.appointments;
        let company_zone =
            company.and_then(|slug| settings.find_company(slug)).and_then(|company| company.time_zone.as_deref());
        let zone = parse_time_zone("appointments.time_zone", company_zone.unwrap_or(&appointments.time_zone))?;
        let hours = appointments.opening_hours()?;
        let service = appointments.services.first();
        let minutes = service.and_then(|service| service.duration_minutes).unwrap_or(appointments.slot_minutes);
        let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let today = zone.to_datetime(now).date();
        let from_ms = now_ms + i64::from(appointments.min_notice_minutes) * MINUTE_MS + START_MARGIN_MS;
        let slots_of_day = |days_ahead: u16| -> Vec<DateTime> {
            match today.checked_add(i32::from(days_ahead).days()) {
                Ok(date) => starts_of_day(date, appointments, &hours, minutes, &zone, from_ms),
                Err(_) => Vec::new(),
            }
        };
        // Today comes last: its slots may pass during the run.
        let days_ahead = (1..=appointments.horizon_days).chain([0]);
        let days: Vec<_> = days_ahead.map(slots_of_day).filter(|slots| !slots.is_empty()).take(MAX_DAYS).collect();
        let first_day_count = days.first().map_or(0, Vec::len);
        Ok(Self { starts: days.concat(), first_day_count, service_name: service.map(|service| service.name.clone()) })
    }

    /// The arguments of call `number`. The first call gets a slot of the first open day, chosen by `seed`, and every
    /// further call the next slot. `None` without any slot.
    pub(super) fn booking_arguments(&self, name: &str, number: u64, seed: u64) -> Option<Map<String, Value>> {
        let first = seed.checked_rem(self.first_day_count as u64)?;
        let index = first.wrapping_add(number) % self.starts.len() as u64;
        let start = self.starts.get(usize::try_from(index).ok()?)?;
        let mut arguments = Map::new();
        arguments.insert("name".into(), name.into());
        arguments.insert("date".into(), start.strftime("%Y-%m-%d").to_string().into());
        arguments.insert("time".into(), start.strftime("%H:%M").to_string().into());
        if let Some(service) = &self.service_name {
            arguments.insert("service".into(), service.as_str().into());
        }
        Some(arguments)
    }
}

/// The slots of one day. Local times that do not exist or exist twice because of daylight saving time are left out.
fn starts_of_day(
    date: Date,
    appointments: &AppointmentSettings,
    hours: &OpeningHours,
    minutes: u16,
    zone: &TimeZone,
    from_ms: i64,
) -> Vec<DateTime> {
    if !hours.is_open_on(date) {
        return Vec::new();
    }
    let last = hours.closes_minute.saturating_sub(minutes);
    let starts = (hours.opens_minute..=last).step_by(usize::from(appointments.slot_minutes.max(1)));
    let local = starts.filter_map(|minute| date.to_datetime(Time::midnight()).checked_add(minute_span(minute)).ok());
    let is_bookable = |local: &DateTime| {
        let moment = zone.to_ambiguous_timestamp(*local).unambiguous();
        moment.is_ok_and(|moment| moment.as_millisecond() >= from_ms)
    };
    local.filter(is_bookable).collect()
}

fn minute_span(minute: u16) -> jiff::Span {
    i64::from(minute).minutes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Saturday, 21 November 2026, 10:00 UTC.
    const NOW_MS: i64 = 1_795_255_200_000;

    fn slots(change: impl FnOnce(&mut AppointmentSettings)) -> SimulatedSlots {
        let mut settings = Settings::default();
        change(&mut settings.appointments);
        SimulatedSlots::from_settings(&settings, None, NOW_MS).unwrap()
    }

    fn requested_slot(slots: &SimulatedSlots, number: u64) -> Option<String> {
        let arguments = slots.booking_arguments("Ada", number, 0)?;
        Some(format!("{} {}", arguments["date"].as_str()?, arguments["time"].as_str()?))
    }

    #[test]
    fn every_call_asks_for_another_slot_from_the_next_open_day_on() {
        let slots = slots(|_| {});
        assert_eq!(requested_slot(&slots, 0).as_deref(), Some("2026-11-23 09:00"));
        assert_eq!(requested_slot(&slots, 15).as_deref(), Some("2026-11-23 16:30"));
        assert_eq!(requested_slot(&slots, 16).as_deref(), Some("2026-11-24 09:00"));
        assert_eq!(slots.booking_arguments("Ada", 0, 18).unwrap()["time"], "10:00");
    }

    #[test]
    fn slots_follow_the_settings() {
        let notice = slots(|it| it.min_notice_minutes = 3 * 1440);
        assert_eq!(requested_slot(&notice, 0).as_deref(), Some("2026-11-24 10:30"));
        let today = slots(|it| (it.horizon_days, it.days) = (1, vec!["sat".into()]));
        assert_eq!(requested_slot(&today, 0).as_deref(), Some("2026-11-21 10:30"));
        let skipped = slots(|it| {
            (it.opens, it.closes, it.time_zone) = ("02:00".into(), "04:00".into(), "Europe/Berlin".into());
            (it.days, it.horizon_days) = (vec!["sun".into()], 200);
        });
        let hours: Vec<_> = skipped.starts.iter().filter(|at| at.date() == Date::constant(2027, 3, 28)).collect();
        assert!(hours.is_empty() || hours.iter().all(|at| at.hour() == 3), "{hours:?}");
        assert_eq!(requested_slot(&slots(|it| (it.horizon_days, it.days) = (1, vec!["mon".into()])), 0), None);
    }
}
