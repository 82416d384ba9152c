use std::fmt;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{ConfigError, list};

/// Appointments begin on the grid of these minutes, so that any two of them either share one or do not meet.
pub const GRAIN_MINUTES: u16 = 5;
const DAY_MINUTES: u16 = 1440;

/// `[appointments]`: the functions that book, move and cancel appointments.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct AppointmentSettings {
    /// Whether the three functions exist.
    pub enabled: bool,
    /// The days on which appointments are given: `mon` to `sun`, or ranges such as `mon-fri`.
    #[serde(deserialize_with = "list::texts")]
    pub days: Vec<String>,
    /// When the first appointment of a day begins, in local time.
    pub opens: String,
    /// When the last one has ended; `24:00` is midnight.
    pub closes: String,
    /// An appointment begins every so many minutes, and lasts as long unless its service says otherwise.
    pub slot_minutes: u16,
    /// Appointments at the same time.
    pub capacity: u16,
    /// What can be booked: names, or tables with `name` and `minutes`. Empty: anything.
    #[serde(deserialize_with = "services")]
    pub services: Vec<ServiceSettings>,
    /// The time zone of all times, as IANA names it.
    pub time_zone: String,
    /// How `03/04/2026` is read. `auto` asks the caller.
    pub date_order: DateOrder,
    /// How many days ahead can be booked.
    pub horizon_days: u16,
    /// How long before its beginning an appointment can still be booked.
    pub notice_minutes: u32,
    /// Days on which there are none, such as `2026-12-25`.
    #[serde(deserialize_with = "list::texts")]
    pub closed_dates: Vec<String>,
}

/// What can be booked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// Its name, as it is said.
    pub name: String,
    /// How long it takes; `slot_minutes` when unset.
    #[serde(default)]
    pub minutes: Option<u16>,
}

/// The order of day and month in a date of digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DateOrder {
    /// As far as the digits tell; else it is asked.
    #[default]
    Auto,
    /// Day, month, year.
    Dmy,
    /// Month, day, year.
    Mdy,
}

/// `[appointments]` taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct OpeningHours {
    /// By day from Monday on.
    pub open: [bool; 7],
    /// Minutes after midnight.
    pub opens: u16,
    /// Minutes after midnight, at most 1440.
    pub closes: u16,
    /// Days without appointments.
    pub closed: Vec<Date>,
}

impl Default for AppointmentSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            days: ["mon", "tue", "wed", "thu", "fri"].map(str::to_owned).to_vec(),
            opens: "09:00".into(),
            closes: "17:00".into(),
            slot_minutes: 30,
            capacity: 1,
            services: Vec::new(),
            time_zone: "UTC".into(),
            date_order: DateOrder::Auto,
            horizon_days: 90,
            notice_minutes: 0,
            closed_dates: Vec::new(),
        }
    }
}

impl AppointmentSettings {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refused = |key: &str, why: &str| Err(ConfigError::refused(&format!("appointments.{key}"), why));
        let hours = self.hours()?;
        time_zone("appointments.time_zone", &self.time_zone)?;
        let on_grid =
            |minutes: u16| (GRAIN_MINUTES..=DAY_MINUTES).contains(&minutes) && minutes.is_multiple_of(GRAIN_MINUTES);
        if !on_grid(self.slot_minutes) {
            return refused("slot_minutes", "expected 5 to 1440, a multiple of 5");
        }
        if !(1..=100).contains(&self.capacity) {
            return refused("capacity", "expected 1 to 100 appointments at the same time");
        }
        if !(1..=730).contains(&self.horizon_days) {
            return refused("horizon_days", "expected 1 to 730");
        }
        if self.notice_minutes / u32::from(DAY_MINUTES) >= u32::from(self.horizon_days) {
            return refused("notice_minutes", "it is longer than horizon_days, so nothing could be booked");
        }
        let open_minutes = hours.closes - hours.opens;
        if self.slot_minutes > open_minutes {
            return refused("slot_minutes", "it is longer than the day from `opens` to `closes`");
        }
        for (position, service) in self.services.iter().enumerate() {
            let key = format!("services[{position}]");
            if service.name.trim().is_empty() || service.name.len() > 100 {
                return refused(&key, "expected a name of 1 to 100 bytes");
            }
            let same = |other: &ServiceSettings| compared(&other.name) == compared(&service.name);
            if self.services[..position].iter().any(same) {
                return refused(&key, "an earlier service has the same name");
            }
            if service.minutes.is_some_and(|minutes| !on_grid(minutes) || minutes > open_minutes) {
                return refused(
                    &key,
                    "expected `minutes` that are a multiple of 5 and no longer than from `opens` to `closes`",
                );
            }
        }
        Ok(())
    }

    /// Days and hours taken apart.
    ///
    /// # Errors
    /// The key that cannot be read.
    pub fn hours(&self) -> Result<OpeningHours, ConfigError> {
        let refused = |key: &str, why: &str| ConfigError::refused(&format!("appointments.{key}"), why);
        let mut open = [false; 7];
        for (position, text) in self.days.iter().enumerate() {
            let why = "expected mon, tue, wed, thu, fri, sat or sun, or a range such as mon-fri";
            let (first, last) = days(text).ok_or_else(|| refused(&format!("days[{position}]"), why))?;
            // `fri-mon` goes over the end of the week.
            (first..=if last < first { last + 7 } else { last }).for_each(|day| open[day % 7] = true);
        }
        if !open.contains(&true) {
            return Err(refused("days", "name at least one day, or set enabled = false"));
        }
        let clock = |key: &str, text: &str| {
            minute_of_day(text)
                .ok_or_else(|| refused(key, "expected a time such as 09:00, on a multiple of five minutes"))
        };
        let (opens, closes) = (clock("opens", &self.opens)?, clock("closes", &self.closes)?);
        if opens >= closes {
            return Err(refused("closes", "it must be later than `opens`"));
        }
        let without = self.closed_dates.iter().enumerate().map(|(position, text)| {
            let why = "expected a date such as 2026-12-25";
            text.parse().map_err(|_| refused(&format!("closed_dates[{position}]"), why))
        });
        Ok(OpeningHours { open, opens, closes, closed: without.collect::<Result<_, _>>()? })
    }
}

impl OpeningHours {
    /// Whether appointments are given on this day.
    #[must_use]
    pub fn is_open(&self, day: Date) -> bool {
        let weekday = usize::from(day.weekday().to_monday_zero_offset().unsigned_abs());
        self.open[weekday] && !self.closed.contains(&day)
    }
}

/// The time zone of this name, from the data in the binary.
///
/// # Errors
/// Refuses `key` when there is none.
pub fn time_zone(key: &str, name: &str) -> Result<TimeZone, ConfigError> {
    let why = "there is no such time zone; expected an IANA name such as Europe/Berlin, America/New_York or UTC";
    TimeZone::get(name).map_err(|_| ConfigError::refused(key, why))
}

/// What of a name counts when two are compared: `Check-up` and `check up` are one.
#[must_use]
pub fn compared(name: &str) -> String {
    name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The first and the last day of a range, from Monday on; the same one twice where it is no range.
fn days(text: &str) -> Option<(usize, usize)> {
    let number = |text: &str| weekday(text.trim()).map(|day| usize::from(day.to_monday_zero_offset().unsigned_abs()));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    number(first).zip(number(last))
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text.to_ascii_lowercase().as_str() {
        "mon" | "monday" => Weekday::Monday,
        "tue" | "tuesday" => Weekday::Tuesday,
        "wed" | "wednesday" => Weekday::Wednesday,
        "thu" | "thursday" => Weekday::Thursday,
        "fri" | "friday" => Weekday::Friday,
        "sat" | "saturday" => Weekday::Saturday,
        "sun" | "sunday" => Weekday::Sunday,
        _ => return None,
    })
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |part: &str| part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute): (u16, u16) =
        if digits(hour) && digits(minute) { (hour.parse().ok()?, minute.parse().ok()?) } else { return None };
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY_MINUTES && minutes.is_multiple_of(GRAIN_MINUTES)).then_some(minutes)
}

/// A list of names and tables, or one text with commas. By hand, so that an unknown key of a table is named.
fn services<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ServiceSettings>, D::Error> {
    struct Services;
    impl<'de> Visitor<'de> for Services {
        type Value = Vec<ServiceSettings>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of names and tables, or one text with commas")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(list::split(text).into_iter().filter(|name| !name.is_empty()).map(named).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut services = Vec::new();
            while let Some(Entry(service)) = list.next_element()? {
                services.push(service);
            }
            Ok(services)
        }
    }
    deserializer.deserialize_any(Services)
}

/// A name, or a table.
struct Entry(ServiceSettings);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ServiceSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or a table with `name` and `minutes`")
            }

            fn visit_str<E>(self, name: &str) -> Result<ServiceSettings, E> {
                Ok(named(name.trim().to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<ServiceSettings, A::Error> {
                ServiceSettings::deserialize(MapAccessDeserializer::new(table))
            }
        }
        deserializer.deserialize_any(Either).map(Self)
    }
}

fn named(name: String) -> ServiceSettings {
    ServiceSettings { name, minutes: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut AppointmentSettings)) -> String {
        let mut settings = AppointmentSettings::default();
        change(&mut settings);
        settings.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let settings = AppointmentSettings::default();
        settings.validate().unwrap();
        let hours = settings.hours().unwrap();
        assert_eq!((hours.opens, hours.closes), (540, 1020));
        assert_eq!(hours.open, [true, true, true, true, true, false, false]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        assert!(refusal(|it| it.days = vec!["mo".into()]).contains("appointments.days[0]"));
        assert!(refusal(|it| it.days.clear()).contains("appointments.days"));
        assert!(refusal(|it| it.opens = "9".into()).contains("appointments.opens"));
        assert!(refusal(|it| it.closes = "09:00".into()).contains("appointments.closes"));
        assert!(refusal(|it| it.closes = "24:05".into()).contains("appointments.closes"));
        assert!(refusal(|it| it.slot_minutes = 7).contains("appointments.slot_minutes"));
        assert!(refusal(|it| it.slot_minutes = 600).contains("appointments.slot_minutes"));
        assert!(refusal(|it| it.capacity = 0).contains("appointments.capacity"));
        assert!(refusal(|it| it.time_zone = "Berlin".into()).contains("appointments.time_zone"));
        assert!(refusal(|it| it.closed_dates = vec!["2026-02-30".into()]).contains("appointments.closed_dates[0]"));
        let service = |name: &str, minutes| ServiceSettings { name: name.into(), minutes };
        assert!(refusal(|it| it.services = vec![service("a", None), service("A", None)]).contains("services[1]"));
        assert!(
            refusal(|it| it.services = vec![service("Check-up", None), service("check up", None)])
                .contains("services[1]")
        );
        assert!(refusal(|it| it.services = vec![service("a", Some(485))]).contains("services[0]"));
    }

    #[test]
    fn days_may_be_ranges() {
        let open = |days: &[&str]| {
            let days = days.iter().map(|&day| day.to_owned()).collect();
            AppointmentSettings { days, ..AppointmentSettings::default() }.hours().unwrap().open
        };
        assert_eq!(open(&["mon-fri"]), [true, true, true, true, true, false, false]);
        assert_eq!(open(&["sat - mon", "Wed"]), [true, false, true, false, false, true, true]);
        for text in ["mon-", "fri-", "mon-fri-sun", "-"] {
            assert!(refusal(|it| it.days = vec![text.into()]).contains("appointments.days[0]"), "{text}");
        }
    }

    #[test]
    fn services_are_names_or_tables() {
        let read = |text: &str| serde_json::from_str::<AppointmentSettings>(text).unwrap().services;
        let service = |name: &str, minutes| ServiceSettings { name: name.into(), minutes };
        assert_eq!(read(r#"{"services": "a, b"}"#), [service("a", None), service("b", None)]);
        let mixed = read(r#"{"services": ["a", {"name": "b", "minutes": 60}]}"#);
        assert_eq!(mixed, [service("a", None), service("b", Some(60))]);
        let typed = serde_json::from_str::<AppointmentSettings>(r#"{"services": [{"name": "b", "minute": 60}]}"#);
        let why = typed.unwrap_err().to_string();
        assert!(why.contains("`minute`") && why.contains("`minutes`"), "{why}");
    }
}
