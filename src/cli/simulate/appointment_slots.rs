//! Times that a simulated caller asks for: open ones, by the settings read here and the clock on the company's wall.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value};

use crate::config::{AppointmentSettings, ConfigError, DEFAULT_COMPANY_SLUG, OpeningHours, Settings, parse_time_zone};

/// Enough for every call of a run to have its own in most settings; where not, alternatives are offered.
const MAX_DAYS: usize = 14;
const MINUTE_MS: i64 = 60_000;
/// The run may take a while.
const START_MARGIN_MS: i64 = 10 * MINUTE_MS;

/// When appointments can be asked for, as a function takes it.
pub(super) struct SimulatedSlots {
    starts: Vec<DateTime>,
    /// How many of them are on the first day.
    first_day_count: usize,
    service_name: Option<String>,
}

impl SimulatedSlots {
    pub(super) fn from_settings(settings: &Settings, company: Option<&str>, now_ms: i64) -> Result<Self, ConfigError> {
        let rules = &settings.appointments;
        let slug = company.unwrap_or(DEFAULT_COMPANY_SLUG);
        let own = settings.companies.iter().find(|company| company.slug == slug);
        let own = own.and_then(|company| company.time_zone.as_deref());
        let zone = parse_time_zone("appointments.time_zone", own.unwrap_or(&rules.time_zone))?;
        let (hours, service) = (rules.opening_hours()?, rules.services.first());
        let minutes = service.and_then(|service| service.duration_minutes).unwrap_or(rules.slot_minutes);
        let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let today = zone.to_datetime(now).date();
        let from_ms = now_ms + i64::from(rules.min_notice_minutes) * MINUTE_MS + START_MARGIN_MS;
        let day = |ahead: u16| -> Vec<DateTime> {
            let date = today.checked_add(i32::from(ahead).days()).ok();
            date.map(|date| starts_of_day(date, rules, &hours, minutes, &zone, from_ms)).unwrap_or_default()
        };
        // What is left of today only if there is no other day.
        let days = (1..=rules.horizon_days).chain([0]).map(day).filter(|day| !day.is_empty());
        let days: Vec<_> = days.take(MAX_DAYS).collect();
        let first_day = days.first().map_or(0, Vec::len);
        Ok(Self {
            starts: days.concat(),
            first_day_count: first_day,
            service_name: service.map(|service| service.name.clone()),
        })
    }

    /// The arguments of call `number`: a slot of the first open day, as `chance` has it, and from there on one a call.
    pub(super) fn booking_arguments(&self, name: &str, number: u64, chance: u64) -> Option<Map<String, Value>> {
        let first = chance.checked_rem(self.first_day_count as u64)?;
        let place = first.wrapping_add(number) % self.starts.len() as u64;
        let start = self.starts.get(usize::try_from(place).ok()?)?;
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

/// Those of a day; none at times that clocks skip or show twice.
fn starts_of_day(
    date: Date,
    rules: &AppointmentSettings,
    hours: &OpeningHours,
    minutes: u16,
    zone: &TimeZone,
    from_ms: i64,
) -> Vec<DateTime> {
    if !hours.is_open_on(date) {
        return Vec::new();
    }
    let last = hours.closes_minute.saturating_sub(minutes);
    let starts = (hours.opens_minute..=last).step_by(usize::from(rules.slot_minutes.max(1)));
    let local = starts.filter_map(|minute| date.to_datetime(Time::midnight()).checked_add(minute_span(minute)).ok());
    let is_open = |local: &DateTime| {
        let moment = zone.to_ambiguous_timestamp(*local).unambiguous();
        moment.is_ok_and(|moment| moment.as_millisecond() >= from_ms)
    };
    local.filter(is_open).collect()
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
    fn each_call_asks_for_another_slot_of_the_next_open_day() {
        let slots = slots(|_| {});
        assert_eq!(requested_slot(&slots, 0).as_deref(), Some("2026-11-23 09:00"));
        assert_eq!(requested_slot(&slots, 15).as_deref(), Some("2026-11-23 16:30"));
        assert_eq!(requested_slot(&slots, 16).as_deref(), Some("2026-11-24 09:00"));
        assert_eq!(slots.booking_arguments("Ada", 0, 18).unwrap()["time"], "10:00");
    }

    #[test]
    fn the_settings_are_kept_to() {
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
