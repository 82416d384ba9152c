//! When a company gives appointments: slots in its own local time, as moments. Pure.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use crate::config::{
    AppointmentSettings, ConfigError, DateOrder, OpeningHours, ServiceSettings, normalize_service_name, parse_time_zone,
};

const MINUTE_MS: i64 = 60_000;

/// What a company's appointments go by.
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

/// A service that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestedService {
    pub(super) name: Option<String>,
    pub(super) minutes: u16,
}

/// Why no appointment begins at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClosedReason {
    /// It is a day without any.
    ClosedDay,
    /// Before opening, or after closing.
    OutsideOpeningHours,
    /// It would end after closing.
    EndsAfterClosing,
    /// Between two at which one begins.
    BetweenSlots,
}

/// What the settings say about a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartCheck {
    /// An appointment may begin then.
    Bookable,
    /// Not a time at which one may begin.
    NotASlot,
    /// It is past, or too soon.
    TooSoon,
    /// Further ahead than can be booked.
    TooFarAhead,
}

impl Calendar {
    pub(super) fn new(settings: &AppointmentSettings, zone_name: &str) -> Result<Self, ConfigError> {
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

    /// The service of this name; any when none is listed. Without a name the length has to be plain all the same.
    pub(super) fn find_service(&self, asked: Option<&str>) -> Result<RequestedService, String> {
        let minutes = |service: &ServiceSettings| service.duration_minutes.unwrap_or(self.slot_minutes);
        let asked = asked.map(str::trim).filter(|asked| !asked.is_empty());
        let names = || self.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ");
        match (asked, self.services.as_slice()) {
            (asked, []) => Ok(RequestedService { name: asked.map(str::to_owned), minutes: self.slot_minutes }),
            (None, [only]) => Ok(RequestedService { name: Some(only.name.clone()), minutes: minutes(only) }),
            (None, [first, others @ ..]) if others.iter().all(|other| minutes(other) == minutes(first)) => {
                Ok(RequestedService { name: None, minutes: minutes(first) })
            }
            (None, _) => Err(format!("Which service is it for? There is {}.", names())),
            (Some(asked), services) => {
                let same =
                    |service: &&ServiceSettings| normalize_service_name(&service.name) == normalize_service_name(asked);
                let found = services.iter().find(same);
                let found = found
                    .map(|service| RequestedService { name: Some(service.name.clone()), minutes: minutes(service) });
                found.ok_or_else(|| format!("We do not offer {asked:?}. There is {}.", names()))
            }
        }
    }

    pub(super) fn local_date(&self, now_ms: i64) -> Date {
        self.to_local(now_ms).date()
    }

    pub(super) fn to_local(&self, ms: i64) -> DateTime {
        self.time_zone.to_datetime(Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// The moment at which clocks show this; the earlier of two. `Err`: they never do, since they are put forward over it.
    pub(super) fn to_timestamp_ms(&self, local: DateTime) -> Result<i64, String> {
        let ambiguous = self.time_zone.to_ambiguous_timestamp(local);
        if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
            return Err(format!(
                "There is no {} on {}: the clocks are put forward then. Which other time suits?",
                local.strftime("%-I:%M %p"),
                local.strftime("%B %-d")
            ));
        }
        let moment =
            ambiguous.earlier().map_err(|_| "That date is out of reach. Which other date suits?".to_owned())?;
        Ok(moment.as_millisecond())
    }

    /// Whether an appointment of this length may begin at this moment.
    pub(super) fn check_start(&self, start_ms: i64, minutes: u16, now_ms: i64) -> StartCheck {
        let local = self.to_local(start_ms);
        if start_ms < now_ms + self.notice_ms {
            return StartCheck::TooSoon;
        }
        if local.date() > self.last_bookable_date(now_ms) {
            return StartCheck::TooFarAhead;
        }
        // Of a time that clocks show twice, slots have the first; the second is as good when it was named.
        let first = self.to_timestamp_ms(local).unwrap_or(start_ms);
        let listed = self.slot_starts(local.date(), minutes).contains(&first);
        let over = start_ms + i64::from(minutes) * MINUTE_MS;
        let closes = self.minute_of_day_to_ms(local.date(), self.opening_hours.closes_minute);
        if listed && closes.is_some_and(|closes_ms| over <= closes_ms) {
            StartCheck::Bookable
        } else {
            StartCheck::NotASlot
        }
    }

    /// Why no appointment of this length begins at this time, where none does.
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

    /// Whether doors are open at this time of a day, however long it takes.
    pub(super) fn is_within_opening_hours(&self, time: Time) -> bool {
        let minute = i32::from(time.hour()) * 60 + i32::from(time.minute());
        (i32::from(self.opening_hours.opens_minute)..i32::from(self.opening_hours.closes_minute)).contains(&minute)
    }

    pub(super) fn last_bookable_date(&self, now_ms: i64) -> Date {
        let today = self.local_date(now_ms);
        today.checked_add(i32::from(self.horizon_days).days()).unwrap_or(today)
    }

    /// The moments of a day at which an appointment of this length may begin. Times that clocks skip are none; of those they
    /// show twice it is the first.
    pub(super) fn slot_starts(&self, day: Date, minutes: u16) -> Vec<i64> {
        if !self.opening_hours.is_open_on(day) {
            return Vec::new();
        }
        let Some(closes_ms) = self.minute_of_day_to_ms(day, self.opening_hours.closes_minute) else {
            return Vec::new();
        };
        let last = self.opening_hours.closes_minute.saturating_sub(minutes);
        let steps = (self.opening_hours.opens_minute..=last).step_by(usize::from(self.slot_minutes));
        let exact = steps.filter_map(|minute| self.to_timestamp_ms(local_date_time(day, minute)?).ok());
        exact.filter(|start_ms| start_ms + i64::from(minutes) * MINUTE_MS <= closes_ms).collect()
    }

    /// The moment of a minute of the day; where clocks skip it, as far after midnight as they would have shown.
    fn minute_of_day_to_ms(&self, day: Date, minute: u16) -> Option<i64> {
        Some(self.time_zone.to_ambiguous_timestamp(local_date_time(day, minute)?).compatible().ok()?.as_millisecond())
    }

    /// When a day begins.
    pub(super) fn start_of_day_ms(&self, day: Date) -> i64 {
        self.minute_of_day_to_ms(day, 0).unwrap_or(i64::MAX)
    }

    pub(super) fn notice_ms(&self) -> i64 {
        self.notice_ms
    }

    /// `every 30 minutes from 9:00 AM`.
    pub(super) fn format_slot_interval(&self) -> String {
        format!("every {} minutes from {}", self.slot_minutes, format_minute_of_day(self.opening_hours.opens_minute))
    }

    /// `9:00 AM` and `5:00 PM`.
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
