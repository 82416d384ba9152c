//! What is in the arguments of a function.

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};
use serde_json::{Map, Value};

use super::hours::{Calendar, Fit};
use super::read::{TimeReading, Unclear, read_date, read_time};
use crate::storage::bounded;

/// The first of these arguments that says something, as text.
pub(super) fn text(arguments: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let value = |name: &&str| match arguments.get(*name)? {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    bounded(names.iter().filter_map(value).find(|text| !text.is_empty()))
}

/// A name as it is kept, and as it is compared.
pub(super) fn name(arguments: &Map<String, Value>) -> Option<(String, String)> {
    let name = text(arguments, &["name"])?;
    let key: String = name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    (!key.is_empty()).then(|| (name.split_whitespace().collect::<Vec<_>>().join(" "), key))
}

/// A confirmation number without what was said or written between its characters.
pub(super) fn confirmation(arguments: &Map<String, Value>) -> Option<String> {
    let said = text(arguments, &["confirmation_number", "confirmation"])?;
    Some(said.to_uppercase().chars().filter(char::is_ascii_alphanumeric).collect())
}

/// The moment that was asked for. What is left out is taken from `now_at`, the time an appointment has.
pub(super) fn moment(
    arguments: &Map<String, Value>,
    calendar: &Calendar,
    now_ms: i64,
    now_at: Option<DateTime>,
) -> Result<i64, Unclear> {
    let date = match (text(arguments, &["date", "new_date"]), now_at) {
        (Some(said), _) => {
            let reading = read_date(&said, calendar.today(now_ms), &calendar.zone, calendar.order)?;
            (reading.date, reading.time)
        }
        (None, Some(at)) => (at.date(), None),
        (None, None) => return Err("For which date is it?".to_owned()),
    };
    let (date, with_date) = date;
    let time = match (text(arguments, &["time", "new_time"]), with_date, now_at) {
        (Some(said), with_date, _) => agreed(read_time(&said)?, with_date)?,
        (None, Some(time), _) => exactly(time),
        (None, None, Some(at)) => exactly(at.time()),
        (None, None, None) => return Err("At which time?".to_owned()),
    };
    let time = half_of_day(time, date, calendar)?;
    calendar.moment(date.to_datetime(time))
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
        Fit::Closed => Ok(Some(format!(
            "There is no appointment on {}: they begin {} on open days.",
            at.strftime("%A, %B %-d at %-I:%M %p"),
            calendar.rhythm()
        ))),
    }
}
