//! What is in the arguments of a function.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value};

use super::hours::{Calendar, Fit, Shut};
use super::read::{TimeReading, Unclear, read_date, read_date_time, read_time};
use crate::base::id::CODE_LENGTH;
use crate::config::compared;
use crate::storage::bounded;

/// The first of these arguments that says something, as text.
pub(super) fn text(arguments: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let value = |name: &&str| match arguments.get(*name)? {
        Value::String(text) => Some(on_a_line(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    bounded(names.iter().filter_map(value).find(|text| !text.is_empty()))
}

/// It may be said aloud or stand in a table.
fn on_a_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A name as it is kept, and as it is compared.
pub(super) fn name(arguments: &Map<String, Value>) -> Option<(String, String)> {
    let name = text(arguments, &["name"])?;
    let key = compared(&name);
    (!key.is_empty()).then_some((name, key))
}

/// A confirmation number without what was said or written around it and between its characters.
pub(super) fn confirmation(arguments: &Map<String, Value>) -> Option<String> {
    const AROUND: [&str; 12] =
        ["MY", "THE", "IT", "ITS", "IS", "NUMBER", "CODE", "CONFIRMATION", "BOOKING", "NUMMER", "PLEASE", "LAUTET"];
    let said = text(arguments, &["confirmation_number", "confirmation"])?.to_uppercase();
    let words: Vec<&str> = said.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    if words.iter().map(|word| word.len()).sum::<usize>() <= CODE_LENGTH {
        return Some(words.concat());
    }
    let number = words.into_iter().filter(|word| !AROUND.contains(word)).collect::<Vec<_>>().concat();
    // Other words are in front of it as a rule.
    Some(number[number.len().saturating_sub(CODE_LENGTH)..].to_owned())
}

/// When an appointment is to be.
const DATE: [&str; 2] = ["new_date", "date"];
const TIME: [&str; 2] = ["new_time", "time"];

/// Whether a change is asked for at all.
pub(super) fn is_change(arguments: &Map<String, Value>) -> bool {
    [&DATE[..], &TIME, &["service"]].iter().any(|names| text(arguments, names).is_some())
}

/// When the appointment is now, as far as the caller told.
#[derive(Default)]
pub(super) struct Then {
    date: Option<Date>,
    time: Option<TimeReading>,
}

impl Then {
    /// Whether something was told, and this is it.
    pub(super) fn fits(&self, at: DateTime) -> bool {
        let time = |said: TimeReading| {
            said.time == at.time() || (said.either_half && said.time.wrapping_add(12.hours()) == at.time())
        };
        (self.date.is_some() || self.time.is_some())
            && self.date.is_none_or(|date| date == at.date())
            && self.time.is_none_or(time)
    }
}

/// `date` and `time` beside `new_date` or `new_time`; without those they are the new ones.
pub(super) fn then_beside_new(arguments: &Map<String, Value>, calendar: &Calendar, now_ms: i64) -> Then {
    match text(arguments, &["new_date", "new_time"]) {
        Some(_) => then(arguments, calendar, now_ms),
        None => Then::default(),
    }
}

/// `date` and `time`, where they can be read.
pub(super) fn then(arguments: &Map<String, Value>, calendar: &Calendar, now_ms: i64) -> Then {
    let date = |said: String| read_date(&said, calendar.today(now_ms), &calendar.zone, calendar.order).ok();
    Then {
        date: text(arguments, &["date"]).and_then(date).map(|reading| reading.date),
        time: text(arguments, &["time"]).and_then(|said| read_time(&said).ok()),
    }
}

/// The moment that was asked for. What is left out is taken from `now_at`, the time an appointment has.
pub(super) fn moment(
    arguments: &Map<String, Value>,
    calendar: &Calendar,
    now_ms: i64,
    now_at: Option<DateTime>,
) -> Result<i64, Unclear> {
    let read = |said: String| read_date(&said, calendar.today(now_ms), &calendar.zone, calendar.order);
    let said_date = text(arguments, &DATE).map(read).transpose()?;
    let said_time = text(arguments, &TIME);
    let whole = said_time.as_deref().and_then(|said| read_date_time(said, &calendar.zone)).transpose()?;
    if let (Some(one), Some(other)) = (said_date, whole)
        && one.date != other.date
    {
        let [one, other] = [one, other].map(|reading| reading.date.strftime("%A, %B %-d").to_string());
        return Err(format!("Is it on {one} or on {other}?"));
    }
    let date = said_date.or(whole).map(|reading| reading.date).or_else(|| now_at.map(DateTime::date));
    let date = date.ok_or_else(|| "For which date is it?".to_owned())?;
    let with_date = said_date.and_then(|reading| reading.time);
    let time = match (whole.and_then(|reading| reading.time), said_time, with_date, now_at) {
        (Some(time), ..) => agreed(exactly(time), with_date)?,
        (None, Some(said), ..) => agreed(read_time(&said)?, with_date)?,
        (None, None, Some(time), _) => exactly(time),
        (None, None, None, Some(at)) => exactly(at.time()),
        (None, None, None, None) => return Err("At which time?".to_owned()),
    };
    let local = date.to_datetime(half_of_day(time, date, calendar)?);
    // Of two moments that show the same time, the one that was named.
    let named = [said_date, whole].into_iter().flatten().find_map(|reading| reading.moment);
    match named.map(Timestamp::as_millisecond).filter(|moment| calendar.local(*moment) == local) {
        Some(moment) => Ok(moment),
        None => calendar.moment(local),
    }
}

fn exactly(time: Time) -> TimeReading {
    TimeReading { time, either_half: false }
}

/// A time that came with the date must be the same. Midnight stands for a date without one.
fn agreed(said: TimeReading, with_date: Option<Time>) -> Result<TimeReading, Unclear> {
    match with_date.filter(|time| *time != Time::midnight() && *time != said.time) {
        None => Ok(said),
        Some(time) if said.either_half && said.time.wrapping_add(12.hours()) == time => Ok(exactly(time)),
        Some(time) => {
            Err(format!("Is it at {} or at {}?", time.strftime("%-I:%M %p"), said.time.strftime("%-I:%M %p")))
        }
    }
}

/// `2:30` in the night, where nobody is open, is asked about when the afternoon would do.
fn half_of_day(said: TimeReading, date: Date, calendar: &Calendar) -> Result<Time, Unclear> {
    let later = said.time.wrapping_add(12.hours());
    if !said.either_half || calendar.is_within(said.time) || !calendar.is_within(later) {
        return Ok(said.time);
    }
    Err(format!(
        "Is {} on {} meant, in the afternoon? Please give the time with AM or PM.",
        later.strftime("%-I:%M %p"),
        date.strftime("%B %-d")
    ))
}

/// Why an appointment cannot begin then; `Err` for what no other time would mend.
pub(super) fn obstacle(
    start_ms: i64,
    minutes: u16,
    calendar: &Calendar,
    now_ms: i64,
) -> Result<Option<String>, Unclear> {
    let at = calendar.local(start_ms);
    match calendar.fit(start_ms, minutes, now_ms) {
        Fit::Open => Ok(None),
        Fit::TooSoon if start_ms < now_ms => {
            Err(format!("{} is past. Which other time suits?", at.strftime("%B %-d, %Y at %-I:%M %p")))
        }
        Fit::TooSoon => Ok(Some("That is too soon.".to_owned())),
        Fit::TooFar => Err(format!(
            "Appointments can be booked until {}. Which other date suits?",
            calendar.last_day(now_ms).strftime("%B %-d, %Y")
        )),
        Fit::Closed => Ok(Some(shut(at, minutes, calendar))),
    }
}

/// Why none begins then.
fn shut(at: DateTime, minutes: u16, calendar: &Calendar) -> String {
    let (from, until) = calendar.open_from_until();
    let (day, then) = (at.strftime("%A, %B %-d"), at.strftime("%A, %B %-d at %-I:%M %p"));
    match calendar.shut(at, minutes) {
        Shut::Day => format!("There are no appointments on {day}."),
        Shut::Hours => format!("There is no appointment on {then}: they are given from {from} to {until}."),
        Shut::TooLong => format!("It takes {minutes} minutes, and would not be over when we close at {until}."),
        Shut::Between => {
            format!("There is no appointment on {then}: they begin {}.", calendar.rhythm())
        }
    }
}
