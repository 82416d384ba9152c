//! The calendar of a company: which instants are slots, by opening hours in its local time. No I/O; the current time
//! is passed in.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use super::parse::DateContext;
use super::person_name::spelling_key;
use crate::config::{
    AppointmentSettings, DateOrder, FieldError, OpeningHours, ServiceSettings, normalize_name, parse_time_zone,
};

const MINUTE_MS: i64 = 60_000;

/// The `[appointments]` settings in the time zone of one company.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    pub(super) time_zone: TimeZone,
    pub(super) time_zone_name: String,
    pub(super) date_order: DateOrder,
    pub(super) capacity: u16,
    services: Vec<ServiceSettings>,
    opening_hours: OpeningHours,
    slot_minutes: u16,
    horizon_days: u16,
    notice_ms: i64,
}

/// A service that was requested, and how long an appointment for it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestedService {
    pub(super) name: Option<String>,
    pub(super) minutes: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClosedReason {
    /// Not an opening day, or one of `closed_dates`.
    ClosedDay,
    OutsideOpeningHours,
    EndsAfterClosing,
    /// Not a multiple of `slot_minutes` after opening.
    BetweenSlots,
}

/// Whether an appointment may start at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartCheck {
    Bookable,
    /// No slot starts then; [`Calendar::closed_reason`] says why.
    NotASlot,
    /// In the past, or less than `min_notice_minutes` from now.
    TooSoon,
    /// More than `horizon_days` from today.
    TooFarAhead,
}

impl Calendar {
    pub(super) fn new(settings: &AppointmentSettings, zone_name: &str) -> Result<Self, FieldError> {
        Ok(Self {
            time_zone: parse_time_zone("appointments.time_zone", zone_name)?,
            time_zone_name: zone_name.to_owned(),
            date_order: settings.date_order,
            capacity: settings.capacity,
            services: settings.services.clone(),
            opening_hours: settings.opening_hours()?,
            slot_minutes: settings.slot_minutes,
            horizon_days: settings.horizon_days,
            notice_ms: i64::from(settings.min_notice_minutes) * MINUTE_MS,
        })
    }

    /// Resolves a requested service. If no services are configured, any name is accepted. Without a name the length
    /// of the appointment must still be certain: there is one service, or all take equally long.
    ///
    /// # Errors
    /// A sentence for the caller that lists the services.
    pub(super) fn find_service(&self, requested: Option<&str>) -> Result<RequestedService, String> {
        let minutes = |service: &ServiceSettings| service.duration_minutes.unwrap_or(self.slot_minutes);
        let requested = requested.map(str::trim).filter(|requested| !requested.is_empty());
        match (requested, self.services.as_slice()) {
            (requested, []) => Ok(RequestedService { name: requested.map(str::to_owned), minutes: self.slot_minutes }),
            (None, [only]) => Ok(RequestedService { name: Some(only.name.clone()), minutes: minutes(only) }),
            (None, [first, others @ ..]) if others.iter().all(|other| minutes(other) == minutes(first)) => {
                Ok(RequestedService { name: None, minutes: minutes(first) })
            }
            (None, _) => Err(format!("Which service would you like? We offer {}.", self.spoken_services())),
            (Some(requested), _) => match self.service_named(requested) {
                Some(service) => Ok(RequestedService { name: Some(service.name.clone()), minutes: minutes(service) }),
                None => Err(format!("Sorry, we do not offer {requested}. We offer {}.", self.spoken_services())),
            },
        }
    }

    /// The service with this name, or the only one whose name is spelled differently: `Maniküre` and `Manikuere`.
    fn service_named(&self, requested: &str) -> Option<&ServiceSettings> {
        let find_only = |key: fn(&str) -> String| {
            let mut matches = self.services.iter().filter(|service| key(&service.name) == key(requested));
            matches.next().filter(|_| matches.next().is_none())
        };
        find_only(normalize_name).or_else(|| find_only(spelling_key))
    }

    /// Joins the names as in `Check-up, Cleaning and Filling`.
    fn spoken_services(&self) -> String {
        let names: Vec<_> = self.services.iter().map(|service| service.name.as_str()).collect();
        match names.as_slice() {
            [] => String::new(),
            [only] => (*only).to_owned(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
        }
    }

    pub(super) fn local_date(&self, now_ms: i64) -> Date {
        self.to_local(now_ms).date()
    }

    /// Formats `Monday, November 23, 2026`.
    pub(super) fn format_today(&self, now_ms: i64) -> String {
        self.local_date(now_ms).strftime("%A, %B %-d, %Y").to_string()
    }

    /// What dates in arguments refer to. The example is the next day with a slot.
    pub(super) fn date_context(&self, now_ms: i64) -> DateContext {
        let today = self.local_date(now_ms);
        let coming = today.series(1.day()).skip(1).take(usize::from(self.horizon_days));
        let example = { coming }.find(|day| !self.slot_starts(*day, self.slot_minutes).is_empty());
        DateContext {
            today,
            zone: self.time_zone.clone(),
            order: self.date_order,
            example: example.or_else(|| today.tomorrow().ok()).unwrap_or(today),
        }
    }

    pub(super) fn to_local(&self, ms: i64) -> DateTime {
        self.time_zone.to_datetime(Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// The instant at which local clocks show this time. When clocks go back and show it twice, the earlier instant.
    ///
    /// # Errors
    /// A sentence for the caller: clocks skip this time when they go forward, or the date is out of range.
    pub(super) fn to_timestamp_ms(&self, local: DateTime) -> Result<i64, String> {
        let ambiguous = self.time_zone.to_ambiguous_timestamp(local);
        if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
            return Err(format!(
                "{} does not exist on {}, because the clocks go forward then. What other time would suit you?",
                local.strftime("%-I:%M %p"),
                local.strftime("%B %-d")
            ));
        }
        match ambiguous.earlier() {
            Ok(instant) => Ok(instant.as_millisecond()),
            Err(_) => Err("Sorry, I cannot book that date. What other date would suit you?".to_owned()),
        }
    }

    /// Whether an appointment of this length may start at this instant.
    pub(super) fn check_start(&self, start_ms: i64, minutes: u16, now_ms: i64) -> StartCheck {
        let local = self.to_local(start_ms);
        if start_ms < now_ms + self.notice_ms {
            return StartCheck::TooSoon;
        }
        if local.date() > self.last_bookable_date(now_ms) {
            return StartCheck::TooFarAhead;
        }
        // `slot_starts` has only the first of two instants that show the same local time. The second is allowed too
        // if the caller named it with an offset, so the slot is looked up by its first instant.
        let first = self.to_timestamp_ms(local).unwrap_or(start_ms);
        let is_slot = self.slot_starts(local.date(), minutes).contains(&first);
        let end_ms = start_ms + i64::from(minutes) * MINUTE_MS;
        let closes_ms = self.minute_of_day_to_ms(local.date(), self.opening_hours.closes_minute);
        if is_slot && closes_ms.is_some_and(|closes_ms| end_ms <= closes_ms) {
            StartCheck::Bookable
        } else {
            StartCheck::NotASlot
        }
    }

    /// Why [`Calendar::check_start`] returned [`StartCheck::NotASlot`].
    pub(super) fn closed_reason(&self, at: DateTime, minutes: u16) -> ClosedReason {
        let minute = i32::from(at.hour()) * 60 + i32::from(at.minute());
        if !self.opening_hours.is_open_on(at.date()) {
            ClosedReason::ClosedDay
        } else if !self.is_within_opening_hours(at.time()) {
            ClosedReason::OutsideOpeningHours
        } else if minute + i32::from(minutes) > i32::from(self.opening_hours.closes_minute) {
            ClosedReason::EndsAfterClosing
        } else {
            ClosedReason::BetweenSlots
        }
    }

    /// Whether an opening day is open at this time, regardless of how long the appointment takes.
    pub(super) fn is_within_opening_hours(&self, time: Time) -> bool {
        let minute = i32::from(time.hour()) * 60 + i32::from(time.minute());
        (i32::from(self.opening_hours.opens_minute)..i32::from(self.opening_hours.closes_minute)).contains(&minute)
    }

    pub(super) fn last_bookable_date(&self, now_ms: i64) -> Date {
        let today = self.local_date(now_ms);
        today.checked_add(i32::from(self.horizon_days).days()).unwrap_or(today)
    }

    /// Instants of a day at which an appointment of this length may start. Local times that clocks skip are left out;
    /// of those they show twice, only the first is included.
    pub(super) fn slot_starts(&self, day: Date, minutes: u16) -> Vec<i64> {
        if !self.opening_hours.is_open_on(day) {
            return Vec::new();
        }
        let Some(closes_ms) = self.minute_of_day_to_ms(day, self.opening_hours.closes_minute) else {
            return Vec::new();
        };
        let last_minute = self.opening_hours.closes_minute.saturating_sub(minutes);
        let minutes_of_day = (self.opening_hours.opens_minute..=last_minute).step_by(usize::from(self.slot_minutes));
        let starts = minutes_of_day.filter_map(|minute| self.to_timestamp_ms(local_date_time(day, minute)?).ok());
        // The limit by local minutes is not enough: when clocks go forward, an hour of the day is missing.
        starts.filter(|start_ms| start_ms + i64::from(minutes) * MINUTE_MS <= closes_ms).collect()
    }

    /// The instant of a minute of the day. If clocks skip it, the offset from before the change applies, so the
    /// result is later than the gap.
    fn minute_of_day_to_ms(&self, day: Date, minute: u16) -> Option<i64> {
        let local = local_date_time(day, minute)?;
        let instant = self.time_zone.to_ambiguous_timestamp(local).compatible().ok()?;
        Some(instant.as_millisecond())
    }

    pub(super) fn start_of_day_ms(&self, day: Date) -> i64 {
        self.minute_of_day_to_ms(day, 0).unwrap_or(i64::MAX)
    }

    pub(super) fn notice_ms(&self) -> i64 {
        self.notice_ms
    }

    /// Formats `every 30 minutes from 9:00 AM`.
    pub(super) fn format_slot_interval(&self) -> String {
        format!("every {} minutes from {}", self.slot_minutes, format_minute_of_day(self.opening_hours.opens_minute))
    }

    /// Opening and closing time, such as `9:00 AM` and `5:00 PM`.
    pub(super) fn format_opening_hours(&self) -> (String, String) {
        (format_minute_of_day(self.opening_hours.opens_minute), format_minute_of_day(self.opening_hours.closes_minute))
    }
}

fn format_minute_of_day(minute: u16) -> String {
    match local_date_time(Date::constant(2024, 1, 1), minute) {
        Some(at) if minute < 24 * 60 => at.strftime("%-I:%M %p").to_string(),
        _ => "midnight".to_owned(),
    }
}

fn local_date_time(day: Date, minute: u16) -> Option<DateTime> {
    day.to_datetime(Time::midnight()).checked_add(i64::from(minute).minutes()).ok()
}
