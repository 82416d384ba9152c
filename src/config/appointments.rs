use std::fmt;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{ConfigError, string_list};

/// Appointments begin on the grid of these minutes, so that any two of them either share one or do not meet.
pub(crate) const SLOT_GRID_MINUTES: u16 = 5;
const MINUTES_PER_DAY: u16 = 1440;

/// `[appointments]`: the functions that book, move and cancel appointments.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct AppointmentSettings {
    /// Whether the three functions exist.
    pub enabled: bool,
    /// The days on which appointments are given: `mon` to `sun`, or ranges such as `mon-fri`.
    #[serde(deserialize_with = "string_list::deserialize_strings")]
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
    #[serde(deserialize_with = "deserialize_services")]
    pub services: Vec<ServiceSettings>,
    /// The time zone of all times, as IANA names it.
    pub time_zone: String,
    /// How `03/04/2026` is read. `auto` asks the caller.
    pub date_order: DateOrder,
    /// How many days ahead can be booked.
    pub horizon_days: u16,
    /// How long before its beginning an appointment can still be booked.
    pub min_notice_minutes: u32,
    /// Days on which there are none, such as `2026-12-25`.
    #[serde(deserialize_with = "string_list::deserialize_strings")]
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
    pub duration_minutes: Option<u16>,
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
    pub open_weekdays: [bool; 7],
    /// Minutes after midnight.
    pub opens_minute: u16,
    /// Minutes after midnight, at most 1440.
    pub closes_minute: u16,
    /// Days without appointments.
    pub closed_dates: Vec<Date>,
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
            min_notice_minutes: 0,
            closed_dates: Vec::new(),
        }
    }
}

impl AppointmentSettings {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refused = |key: &str, why: &str| Err(ConfigError::invalid(&format!("appointments.{key}"), why));
        let hours = self.opening_hours()?;
        parse_time_zone("appointments.time_zone", &self.time_zone)?;
        let on_grid = |minutes: u16| {
            (SLOT_GRID_MINUTES..=MINUTES_PER_DAY).contains(&minutes) && minutes.is_multiple_of(SLOT_GRID_MINUTES)
        };
        if !on_grid(self.slot_minutes) {
            return refused("slot_minutes", "expected 5 to 1440, a multiple of 5");
        }
        if !(1..=100).contains(&self.capacity) {
            return refused("capacity", "expected 1 to 100 appointments at the same time");
        }
        if !(1..=730).contains(&self.horizon_days) {
            return refused("horizon_days", "expected 1 to 730");
        }
        if self.min_notice_minutes / u32::from(MINUTES_PER_DAY) >= u32::from(self.horizon_days) {
            return refused("min_notice_minutes", "it is longer than horizon_days, so nothing could be booked");
        }
        let open_minutes = hours.closes_minute - hours.opens_minute;
        if self.slot_minutes > open_minutes {
            return refused("slot_minutes", "it is longer than the day from `opens` to `closes`");
        }
        for (position, service) in self.services.iter().enumerate() {
            let key = format!("services[{position}]");
            if service.name.trim().is_empty() || service.name.len() > 100 {
                return refused(&key, "expected a name of 1 to 100 bytes");
            }
            let same =
                |other: &ServiceSettings| normalize_service_name(&other.name) == normalize_service_name(&service.name);
            if self.services[..position].iter().any(same) {
                return refused(&key, "an earlier service has the same name");
            }
            if service.duration_minutes.is_some_and(|minutes| !on_grid(minutes) || minutes > open_minutes) {
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
    pub fn opening_hours(&self) -> Result<OpeningHours, ConfigError> {
        let refused = |key: &str, why: &str| ConfigError::invalid(&format!("appointments.{key}"), why);
        let mut open = [false; 7];
        for (position, text) in self.days.iter().enumerate() {
            let why = "expected mon, tue, wed, thu, fri, sat or sun, or a range such as mon-fri";
            let (first, last) = parse_weekday_range(text).ok_or_else(|| refused(&format!("days[{position}]"), why))?;
            // `fri-mon` goes over the end of the week.
            (first..=if last < first { last + 7 } else { last }).for_each(|day| open[day % 7] = true);
        }
        if !open.contains(&true) {
            return Err(refused("days", "name at least one day, or set enabled = false"));
        }
        let clock = |key: &str, text: &str| {
            parse_minute_of_day(text)
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
        Ok(OpeningHours {
            open_weekdays: open,
            opens_minute: opens,
            closes_minute: closes,
            closed_dates: without.collect::<Result<_, _>>()?,
        })
    }
}

impl OpeningHours {
    /// Whether appointments are given on this day.
    #[must_use]
    pub fn is_open_on(&self, day: Date) -> bool {
        let weekday = usize::from(day.weekday().to_monday_zero_offset().unsigned_abs());
        self.open_weekdays[weekday] && !self.closed_dates.contains(&day)
    }
}

/// The time zone of this name, from the data in the binary.
///
/// # Errors
/// Refuses `key` when there is none.
pub(crate) fn parse_time_zone(key: &str, name: &str) -> Result<TimeZone, ConfigError> {
    let why = "there is no such time zone; expected an IANA name such as Europe/Berlin, America/New_York or UTC";
    TimeZone::get(name).map_err(|_| ConfigError::invalid(key, why))
}

/// What of a name counts when two are compared: `Check-up` and `check up` are one.
#[must_use]
pub(crate) fn normalize_service_name(name: &str) -> String {
    name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// The first and the last day of a range, from Monday on; the same one twice where it is no range.
fn parse_weekday_range(text: &str) -> Option<(usize, usize)> {
    let number =
        |text: &str| parse_weekday(text.trim()).map(|day| usize::from(day.to_monday_zero_offset().unsigned_abs()));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    number(first).zip(number(last))
}

fn parse_weekday(text: &str) -> Option<Weekday> {
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

fn parse_minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |part: &str| part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute): (u16, u16) =
        if digits(hour) && digits(minute) { (hour.parse().ok()?, minute.parse().ok()?) } else { return None };
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= MINUTES_PER_DAY && minutes.is_multiple_of(SLOT_GRID_MINUTES)).then_some(minutes)
}

/// A list of names and tables, or one text with commas. By hand, so that an unknown key of a table is named.
fn deserialize_services<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ServiceSettings>, D::Error> {
    struct ServiceListVisitor;
    impl<'de> Visitor<'de> for ServiceListVisitor {
        type Value = Vec<ServiceSettings>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of names and tables, or one text with commas")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(string_list::split_commas(text)
                .into_iter()
                .filter(|name| !name.is_empty())
                .map(service_without_duration)
                .collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut services = Vec::new();
            while let Some(ServiceEntry(service)) = list.next_element()? {
                services.push(service);
            }
            Ok(services)
        }
    }
    deserializer.deserialize_any(ServiceListVisitor)
}

/// A name, or a table.
struct ServiceEntry(ServiceSettings);

impl<'de> Deserialize<'de> for ServiceEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ServiceEntryVisitor;
        impl<'de> Visitor<'de> for ServiceEntryVisitor {
            type Value = ServiceSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or a table with `name` and `minutes`")
            }

            fn visit_str<E>(self, name: &str) -> Result<ServiceSettings, E> {
                Ok(service_without_duration(name.trim().to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<ServiceSettings, A::Error> {
                ServiceSettings::deserialize(MapAccessDeserializer::new(table))
            }
        }
        deserializer.deserialize_any(ServiceEntryVisitor).map(Self)
    }
}

fn service_without_duration(name: String) -> ServiceSettings {
    ServiceSettings { name, duration_minutes: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validation_error(change: impl FnOnce(&mut AppointmentSettings)) -> String {
        let mut settings = AppointmentSettings::default();
        change(&mut settings);
        settings.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let settings = AppointmentSettings::default();
        settings.validate().unwrap();
        let hours = settings.opening_hours().unwrap();
        assert_eq!((hours.opens_minute, hours.closes_minute), (540, 1020));
        assert_eq!(hours.open_weekdays, [true, true, true, true, true, false, false]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        assert!(validation_error(|it| it.days = vec!["mo".into()]).contains("appointments.days[0]"));
        assert!(validation_error(|it| it.days.clear()).contains("appointments.days"));
        assert!(validation_error(|it| it.opens = "9".into()).contains("appointments.opens"));
        assert!(validation_error(|it| it.closes = "09:00".into()).contains("appointments.closes"));
        assert!(validation_error(|it| it.closes = "24:05".into()).contains("appointments.closes"));
        assert!(validation_error(|it| it.slot_minutes = 7).contains("appointments.slot_minutes"));
        assert!(validation_error(|it| it.slot_minutes = 600).contains("appointments.slot_minutes"));
        assert!(validation_error(|it| it.capacity = 0).contains("appointments.capacity"));
        assert!(validation_error(|it| it.time_zone = "Berlin".into()).contains("appointments.time_zone"));
        assert!(
            validation_error(|it| it.closed_dates = vec!["2026-02-30".into()]).contains("appointments.closed_dates[0]")
        );
        let service = |name: &str, minutes| ServiceSettings { name: name.into(), duration_minutes: minutes };
        assert!(
            validation_error(|it| it.services = vec![service("a", None), service("A", None)]).contains("services[1]")
        );
        assert!(
            validation_error(|it| it.services = vec![service("Check-up", None), service("check up", None)])
                .contains("services[1]")
        );
        assert!(validation_error(|it| it.services = vec![service("a", Some(485))]).contains("services[0]"));
    }

    #[test]
    fn days_may_be_ranges() {
        let open = |days: &[&str]| {
            let days = days.iter().map(|&day| day.to_owned()).collect();
            AppointmentSettings { days, ..AppointmentSettings::default() }.opening_hours().unwrap().open_weekdays
        };
        assert_eq!(open(&["mon-fri"]), [true, true, true, true, true, false, false]);
        assert_eq!(open(&["sat - mon", "Wed"]), [true, false, true, false, false, true, true]);
        for text in ["mon-", "fri-", "mon-fri-sun", "-"] {
            assert!(validation_error(|it| it.days = vec![text.into()]).contains("appointments.days[0]"), "{text}");
        }
    }

    #[test]
    fn services_are_names_or_tables() {
        let read = |text: &str| serde_json::from_str::<AppointmentSettings>(text).unwrap().services;
        let service = |name: &str, minutes| ServiceSettings { name: name.into(), duration_minutes: minutes };
        assert_eq!(read(r#"{"services": "a, b"}"#), [service("a", None), service("b", None)]);
        let mixed = read(r#"{"services": ["a", {"name": "b", "duration_minutes": 60}]}"#);
        assert_eq!(mixed, [service("a", None), service("b", Some(60))]);
        let typed =
            serde_json::from_str::<AppointmentSettings>(r#"{"services": [{"name": "b", "duration_minute": 60}]}"#);
        let why = typed.unwrap_err().to_string();
        assert!(why.contains("`duration_minute`") && why.contains("`duration_minutes`"), "{why}");
    }
}
