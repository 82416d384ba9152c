mod services;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::services::{ServiceList, deserialize_services};
pub(crate) use self::services::{ServiceSettings, normalize_name};
use crate::config::FieldError;
use crate::config::values::string_list;

/// Appointments begin and end on a grid of this many minutes, so two of them either share a grid step or do not
/// overlap.
pub(crate) const SLOT_GRID_MINUTES: u16 = 5;
const MINUTES_PER_DAY: u16 = 1440;

/// `[appointments]`: the built-in functions that book, change and cancel appointments.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct AppointmentSettings {
    /// Whether agents have the functions `collect_appointment_information`, `change_appointment_details` and
    /// `cancel_appointment`.
    pub enabled: bool,
    /// Days on which appointments are offered: `mon` to `sun`, or ranges such as `mon-fri`.
    #[serde(deserialize_with = "string_list::deserialize_strings")]
    #[schemars(with = "string_list::StringList")]
    pub days: Vec<String>,
    /// Local time at which the first appointment of a day begins, a multiple of five minutes.
    pub opens: String,
    /// Local time by which the last appointment of a day has ended; `24:00` is midnight.
    pub closes: String,
    /// Minutes between the beginnings of two appointments, 5 to 1440, a multiple of 5. Also the duration of an
    /// appointment whose service sets none.
    pub slot_minutes: u16,
    /// Number of appointments at the same time, 1 to 100.
    pub capacity: u16,
    /// Services that can be booked: names, or tables with `name` and `duration_minutes`. Empty: any service.
    #[serde(deserialize_with = "deserialize_services")]
    #[schemars(with = "ServiceList")]
    pub services: Vec<ServiceSettings>,
    /// IANA time zone of all times, such as `Europe/Berlin`.
    pub time_zone: String,
    /// Order of day and month in a date such as `03/04/2026`.
    pub date_order: DateOrder,
    /// Number of days ahead that can be booked, 1 to 730.
    pub horizon_days: u16,
    /// Minutes before its beginning until which an appointment can be booked.
    pub min_notice_minutes: u32,
    /// Dates without appointments, such as `2026-12-25`.
    #[serde(deserialize_with = "string_list::deserialize_strings")]
    #[schemars(with = "string_list::StringList")]
    pub closed_dates: Vec<String>,
}

/// The order of day and month in a numeric date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DateOrder {
    /// Decided by the digits; asks the caller when both orders are possible.
    #[default]
    Auto,
    /// The day comes before the month.
    Dmy,
    /// The month comes before the day.
    Mdy,
}

/// Parsed days and hours of `[appointments]`.
#[derive(Clone, Debug, PartialEq)]
pub struct OpeningHours {
    /// Whether each weekday is open, starting with Monday.
    pub open_weekdays: [bool; 7],
    /// Opening time in minutes after midnight.
    pub opens_minute: u16,
    /// Closing time in minutes after midnight, at most 1440.
    pub closes_minute: u16,
    /// Dates on which no appointments are offered.
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
    pub(in crate::config) fn validate(&self) -> Result<(), FieldError> {
        let invalid = |key: &str, why: &str| Err(FieldError::new(format!("appointments.{key}"), why));
        let hours = self.opening_hours()?;
        parse_time_zone("appointments.time_zone", &self.time_zone)?;
        let on_grid = |minutes: u16| {
            (SLOT_GRID_MINUTES..=MINUTES_PER_DAY).contains(&minutes) && minutes.is_multiple_of(SLOT_GRID_MINUTES)
        };
        if !on_grid(self.slot_minutes) {
            return invalid("slot_minutes", "expected 5 to 1440, a multiple of 5");
        }
        if !(1..=100).contains(&self.capacity) {
            return invalid("capacity", "expected 1 to 100 appointments at the same time");
        }
        if !(1..=730).contains(&self.horizon_days) {
            return invalid("horizon_days", "expected 1 to 730");
        }
        if self.min_notice_minutes / u32::from(MINUTES_PER_DAY) >= u32::from(self.horizon_days) {
            return invalid("min_notice_minutes", "it is longer than `horizon_days`, so nothing could be booked");
        }
        let open_minutes = hours.closes_minute - hours.opens_minute;
        if self.slot_minutes > open_minutes {
            return invalid("slot_minutes", "it is longer than the day from `opens` to `closes`");
        }
        for (position, service) in self.services.iter().enumerate() {
            let key = format!("services[{position}]");
            if service.name.trim().is_empty() || service.name.len() > 100 {
                return invalid(&key, "expected a name of 1 to 100 bytes");
            }
            let name = normalize_name(&service.name);
            let earlier = &self.services[..position];
            if earlier.iter().any(|other| normalize_name(&other.name) == name) {
                return invalid(&key, "an earlier service has the same name");
            }
            if service.duration_minutes.is_some_and(|minutes| !on_grid(minutes) || minutes > open_minutes) {
                return invalid(
                    &key,
                    "expected `duration_minutes` that are a multiple of 5 and fit between `opens` and `closes`",
                );
            }
        }
        Ok(())
    }

    /// Parses days and hours.
    ///
    /// # Errors
    /// The first key that cannot be parsed.
    pub fn opening_hours(&self) -> Result<OpeningHours, FieldError> {
        let invalid = |key: &str, why: &str| FieldError::new(format!("appointments.{key}"), why);
        let mut open = [false; 7];
        for (position, text) in self.days.iter().enumerate() {
            let why = "expected mon, tue, wed, thu, fri, sat or sun, or a range such as mon-fri";
            let (first, last) = parse_weekday_range(text).ok_or_else(|| invalid(&format!("days[{position}]"), why))?;
            // A range such as `fri-mon` wraps around the end of the week.
            let last = if last < first { last + 7 } else { last };
            for day in first..=last {
                open[day % 7] = true;
            }
        }
        if !open.contains(&true) {
            return Err(invalid("days", "it names no day; name at least one, or set enabled = false"));
        }
        let clock = |key: &str, text: &str| {
            parse_minute_of_day(text)
                .ok_or_else(|| invalid(key, "expected a time such as 09:00, on a multiple of five minutes"))
        };
        let opens = clock("opens", &self.opens)?;
        let closes = clock("closes", &self.closes)?;
        if opens >= closes {
            return Err(invalid("closes", "it must be later than `opens`"));
        }
        let closed_dates = self.closed_dates.iter().enumerate().map(|(position, text)| {
            let why = "expected a date such as 2026-12-25";
            text.parse().map_err(|_| invalid(&format!("closed_dates[{position}]"), why))
        });
        Ok(OpeningHours {
            open_weekdays: open,
            opens_minute: opens,
            closes_minute: closes,
            closed_dates: closed_dates.collect::<Result<_, _>>()?,
        })
    }
}

impl OpeningHours {
    /// Whether appointments are offered on this date.
    #[must_use]
    pub fn is_open_on(&self, day: Date) -> bool {
        let weekday = usize::from(day.weekday().to_monday_zero_offset().unsigned_abs());
        self.open_weekdays[weekday] && !self.closed_dates.contains(&day)
    }
}

/// Looks up an IANA time zone in the data compiled into the binary.
///
/// # Errors
/// No time zone has this name; the error names `key`.
pub(crate) fn parse_time_zone(key: &str, name: &str) -> Result<TimeZone, FieldError> {
    let why = "it is not a known time zone; expected an IANA name such as Europe/Berlin, America/New_York or UTC";
    TimeZone::get(name).map_err(|_| FieldError::new(key, why))
}

/// The first and the last day of a range, counted from Monday. A single day is both.
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
    // `parse` alone would accept a sign, as in `+9:00`.
    let digits = |part: &str| part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let hour: u16 = hour.parse().ok()?;
    let minute: u16 = minute.parse().ok()?;
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= MINUTES_PER_DAY && minutes.is_multiple_of(SLOT_GRID_MINUTES)).then_some(minutes)
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
    fn default_hours_are_weekdays_nine_to_five() {
        let settings = AppointmentSettings::default();
        settings.validate().unwrap();
        let hours = settings.opening_hours().unwrap();
        assert_eq!((hours.opens_minute, hours.closes_minute), (540, 1020));
        assert_eq!(hours.open_weekdays, [true, true, true, true, true, false, false]);
    }

    #[test]
    fn invalid_values_are_refused_by_key() {
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
}
