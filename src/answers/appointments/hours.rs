//! When a company gives appointments: slots in its own local time, as moments. Pure.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use crate::config::{AppointmentSettings, ConfigError, DateOrder, OpeningHours, ServiceSettings, compared, time_zone};

const MINUTE_MS: i64 = 60_000;

/// What a company's appointments go by.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    pub(super) zone: TimeZone,
    pub(super) zone_name: String,
    pub(super) order: DateOrder,
    pub(super) capacity: u16,
    services: Vec<ServiceSettings>,
    hours: OpeningHours,
    slot_minutes: u16,
    horizon_days: u16,
    notice_ms: i64,
}

/// A service that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: Option<String>,
    pub(super) minutes: u16,
}

/// Why no appointment begins at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// It is a day without any.
    Day,
    /// Before opening, or after closing.
    Hours,
    /// It would end after closing.
    TooLong,
    /// Between two at which one begins.
    Between,
}

/// What the settings say about a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// An appointment may begin then.
    Open,
    /// Not a time at which one may begin.
    Closed,
    /// It is past, or too soon.
    TooSoon,
    /// Further ahead than can be booked.
    TooFar,
}

impl Calendar {
    pub(super) fn new(settings: &AppointmentSettings, zone_name: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            zone: time_zone("appointments.time_zone", zone_name)?,
            zone_name: zone_name.to_owned(),
            order: settings.date_order,
            capacity: settings.capacity,
            services: settings.services.clone(),
            hours: settings.hours()?,
            slot_minutes: settings.slot_minutes,
            horizon_days: settings.horizon_days,
            notice_ms: i64::from(settings.notice_minutes) * MINUTE_MS,
        })
    }

    /// The service of this name; any when none is listed. Without a name the length has to be plain all the same.
    pub(super) fn service(&self, asked: Option<&str>) -> Result<Service, String> {
        let minutes = |service: &ServiceSettings| service.minutes.unwrap_or(self.slot_minutes);
        let asked = asked.map(str::trim).filter(|asked| !asked.is_empty());
        let names = || self.services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ");
        match (asked, self.services.as_slice()) {
            (asked, []) => Ok(Service { name: asked.map(str::to_owned), minutes: self.slot_minutes }),
            (None, [only]) => Ok(Service { name: Some(only.name.clone()), minutes: minutes(only) }),
            (None, [first, others @ ..]) if others.iter().all(|other| minutes(other) == minutes(first)) => {
                Ok(Service { name: None, minutes: minutes(first) })
            }
            (None, _) => Err(format!("Which service is it for? There is {}.", names())),
            (Some(asked), services) => {
                let same = |service: &&ServiceSettings| compared(&service.name) == compared(asked);
                let found = services.iter().find(same);
                let found =
                    found.map(|service| Service { name: Some(service.name.clone()), minutes: minutes(service) });
                found.ok_or_else(|| format!("We do not offer {asked:?}. There is {}.", names()))
            }
        }
    }

    pub(super) fn today(&self, now_ms: i64) -> Date {
        self.local(now_ms).date()
    }

    pub(super) fn local(&self, ms: i64) -> DateTime {
        self.zone.to_datetime(Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// The moment at which clocks show this; the earlier of two. `Err`: they never do, since they are put forward over it.
    pub(super) fn moment(&self, local: DateTime) -> Result<i64, String> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
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
    pub(super) fn fit(&self, start_ms: i64, minutes: u16, now_ms: i64) -> Fit {
        let local = self.local(start_ms);
        if start_ms < now_ms + self.notice_ms {
            return Fit::TooSoon;
        }
        if local.date() > self.last_day(now_ms) {
            return Fit::TooFar;
        }
        // Of a time that clocks show twice, slots have the first; the second is as good when it was named.
        let first = self.moment(local).unwrap_or(start_ms);
        let listed = self.slots(local.date(), minutes).contains(&first);
        let over = start_ms + i64::from(minutes) * MINUTE_MS;
        let closes = self.at(local.date(), self.hours.closes);
        if listed && closes.is_some_and(|closes_ms| over <= closes_ms) { Fit::Open } else { Fit::Closed }
    }

    /// Why no appointment of this length begins at this time, where none does.
    pub(super) fn shut(&self, at: DateTime, minutes: u16) -> Shut {
        let minute = i32::from(at.hour()) * 60 + i32::from(at.minute());
        if !self.hours.is_open(at.date()) {
            Shut::Day
        } else if !self.is_within(at.time()) {
            Shut::Hours
        } else if minute + i32::from(minutes) > i32::from(self.hours.closes) {
            Shut::TooLong
        } else {
            Shut::Between
        }
    }

    /// Whether doors are open at this time of a day, however long it takes.
    pub(super) fn is_within(&self, time: Time) -> bool {
        let minute = i32::from(time.hour()) * 60 + i32::from(time.minute());
        (i32::from(self.hours.opens)..i32::from(self.hours.closes)).contains(&minute)
    }

    pub(super) fn last_day(&self, now_ms: i64) -> Date {
        let today = self.today(now_ms);
        today.checked_add(i32::from(self.horizon_days).days()).unwrap_or(today)
    }

    /// The moments of a day at which an appointment of this length may begin. Times that clocks skip are none; of those they
    /// show twice it is the first.
    pub(super) fn slots(&self, day: Date, minutes: u16) -> Vec<i64> {
        if !self.hours.is_open(day) {
            return Vec::new();
        }
        let Some(closes_ms) = self.at(day, self.hours.closes) else { return Vec::new() };
        let last = self.hours.closes.saturating_sub(minutes);
        let steps = (self.hours.opens..=last).step_by(usize::from(self.slot_minutes));
        let exact = steps.filter_map(|minute| self.moment(local(day, minute)?).ok());
        exact.filter(|start_ms| start_ms + i64::from(minutes) * MINUTE_MS <= closes_ms).collect()
    }

    /// The moment of a minute of the day; where clocks skip it, as far after midnight as they would have shown.
    fn at(&self, day: Date, minute: u16) -> Option<i64> {
        Some(self.zone.to_ambiguous_timestamp(local(day, minute)?).compatible().ok()?.as_millisecond())
    }

    /// When a day begins.
    pub(super) fn begin_of(&self, day: Date) -> i64 {
        self.at(day, 0).unwrap_or(i64::MAX)
    }

    pub(super) fn notice_ms(&self) -> i64 {
        self.notice_ms
    }

    /// `every 30 minutes from 9:00 AM`.
    pub(super) fn rhythm(&self) -> String {
        format!("every {} minutes from {}", self.slot_minutes, spoken(self.hours.opens))
    }

    /// `9:00 AM` and `5:00 PM`.
    pub(super) fn open_from_until(&self) -> (String, String) {
        (spoken(self.hours.opens), spoken(self.hours.closes))
    }
}

fn spoken(minute: u16) -> String {
    match local(Date::constant(2024, 1, 1), minute) {
        Some(at) if minute < 24 * 60 => at.strftime("%-I:%M %p").to_string(),
        _ => "midnight".to_owned(),
    }
}

fn local(day: Date, minute: u16) -> Option<DateTime> {
    day.to_datetime(Time::midnight()).checked_add(i64::from(minute).minutes()).ok()
}
