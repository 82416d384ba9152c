//! What is in the arguments of a function.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value};

use super::calendar::{Calendar, ClosedReason, StartCheck};
use super::parse::{ClarifyingQuestion, ParsedTime, parse_date, parse_iso_date_time, parse_time};
use crate::base::id::SPOKEN_CODE_LENGTH;
use crate::config::normalize_service_name;
use crate::storage::sanitize_text;

/// The first of these arguments that says something, as text.
pub(super) fn find_text(arguments: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let value = |name: &&str| match arguments.get(*name)? {
        Value::String(text) => Some(collapse_whitespace(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    sanitize_text(names.iter().filter_map(value).find(|text| !text.is_empty()))
}

/// It may be said aloud or stand in a table.
fn collapse_whitespace(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A name as it is kept, and as it is compared.
pub(super) fn parse_name(arguments: &Map<String, Value>) -> Option<(String, String)> {
    let name = find_text(arguments, &["name"])?;
    let key = normalize_service_name(&name);
    (!key.is_empty()).then_some((name, key))
}

/// A confirmation number without what was said or written around it and between its characters.
pub(super) fn parse_confirmation_number(arguments: &Map<String, Value>) -> Option<String> {
    const CONFIRMATION_FILLER_WORDS: [&str; 12] =
        ["MY", "THE", "IT", "ITS", "IS", "NUMBER", "CODE", "CONFIRMATION", "BOOKING", "NUMMER", "PLEASE", "LAUTET"];
    let said = find_text(arguments, &["confirmation_number", "confirmation"])?.to_uppercase();
    let words: Vec<&str> = said.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    if words.iter().map(|word| word.len()).sum::<usize>() <= SPOKEN_CODE_LENGTH {
        return Some(words.concat());
    }
    let number =
        words.into_iter().filter(|word| !CONFIRMATION_FILLER_WORDS.contains(word)).collect::<Vec<_>>().concat();
    // Other words are in front of it as a rule.
    Some(number[number.len().saturating_sub(SPOKEN_CODE_LENGTH)..].to_owned())
}

/// When an appointment is to be.
const NEW_DATE_ARGUMENTS: [&str; 2] = ["new_date", "date"];
const NEW_TIME_ARGUMENTS: [&str; 2] = ["new_time", "time"];

/// Whether a change is asked for at all.
pub(super) fn has_changes(arguments: &Map<String, Value>) -> bool {
    [&NEW_DATE_ARGUMENTS[..], &NEW_TIME_ARGUMENTS, &["service"]]
        .iter()
        .any(|names| find_text(arguments, names).is_some())
}

/// When the appointment is now, as far as the caller told.
#[derive(Default)]
pub(super) struct CurrentTimeHint {
    date: Option<Date>,
    time: Option<ParsedTime>,
}

impl CurrentTimeHint {
    /// Whether something was told, and this is it.
    pub(super) fn matches(&self, at: DateTime) -> bool {
        let time = |said: ParsedTime| {
            said.time == at.time() || (said.am_pm_ambiguous && said.time.wrapping_add(12.hours()) == at.time())
        };
        (self.date.is_some() || self.time.is_some())
            && self.date.is_none_or(|date| date == at.date())
            && self.time.is_none_or(time)
    }
}

/// `date` and `time` beside `new_date` or `new_time`; without those they are the new ones.
pub(super) fn parse_current_time_hint_for_change(
    arguments: &Map<String, Value>,
    calendar: &Calendar,
    now_ms: i64,
) -> CurrentTimeHint {
    match find_text(arguments, &["new_date", "new_time"]) {
        Some(_) => parse_current_time_hint(arguments, calendar, now_ms),
        None => CurrentTimeHint::default(),
    }
}

/// `date` and `time`, where they can be read.
pub(super) fn parse_current_time_hint(
    arguments: &Map<String, Value>,
    calendar: &Calendar,
    now_ms: i64,
) -> CurrentTimeHint {
    let date =
        |said: String| parse_date(&said, calendar.local_date(now_ms), &calendar.time_zone, calendar.date_order).ok();
    CurrentTimeHint {
        date: find_text(arguments, &["date"]).and_then(date).map(|reading| reading.date),
        time: find_text(arguments, &["time"]).and_then(|said| parse_time(&said).ok()),
    }
}

/// The moment that was asked for. What is left out is taken from `now_at`, the time an appointment has.
pub(super) fn parse_start_ms(
    arguments: &Map<String, Value>,
    calendar: &Calendar,
    now_ms: i64,
    now_at: Option<DateTime>,
) -> Result<i64, ClarifyingQuestion> {
    let read = |said: String| parse_date(&said, calendar.local_date(now_ms), &calendar.time_zone, calendar.date_order);
    let said_date = find_text(arguments, &NEW_DATE_ARGUMENTS).map(read).transpose()?;
    let said_time = find_text(arguments, &NEW_TIME_ARGUMENTS);
    let whole = said_time.as_deref().and_then(|said| parse_iso_date_time(said, &calendar.time_zone)).transpose()?;
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
        (Some(time), ..) => reconcile_times(unambiguous_time(time), with_date)?,
        (None, Some(said), ..) => reconcile_times(parse_time(&said)?, with_date)?,
        (None, None, Some(time), _) => unambiguous_time(time),
        (None, None, None, Some(at)) => unambiguous_time(at.time()),
        (None, None, None, None) => return Err("At which time?".to_owned()),
    };
    let local = date.to_datetime(resolve_am_pm(time, date, calendar)?);
    // Of two moments that show the same time, the one that was named.
    let named = [said_date, whole].into_iter().flatten().find_map(|reading| reading.timestamp);
    match named.map(Timestamp::as_millisecond).filter(|moment| calendar.to_local(*moment) == local) {
        Some(moment) => Ok(moment),
        None => calendar.to_timestamp_ms(local),
    }
}

fn unambiguous_time(time: Time) -> ParsedTime {
    ParsedTime { time, am_pm_ambiguous: false }
}

/// A time that came with the date must be the same. Midnight stands for a date without one.
fn reconcile_times(said: ParsedTime, with_date: Option<Time>) -> Result<ParsedTime, ClarifyingQuestion> {
    match with_date.filter(|time| *time != Time::midnight() && *time != said.time) {
        None => Ok(said),
        Some(time) if said.am_pm_ambiguous && said.time.wrapping_add(12.hours()) == time => Ok(unambiguous_time(time)),
        Some(time) => {
            Err(format!("Is it at {} or at {}?", time.strftime("%-I:%M %p"), said.time.strftime("%-I:%M %p")))
        }
    }
}

/// `2:30` in the night, where nobody is open, is asked about when the afternoon would do.
fn resolve_am_pm(said: ParsedTime, date: Date, calendar: &Calendar) -> Result<Time, ClarifyingQuestion> {
    let later = said.time.wrapping_add(12.hours());
    if !said.am_pm_ambiguous || calendar.is_within_opening_hours(said.time) || !calendar.is_within_opening_hours(later)
    {
        return Ok(said.time);
    }
    Err(format!(
        "Is {} on {} meant, in the afternoon? Please give the time with AM or PM.",
        later.strftime("%-I:%M %p"),
        date.strftime("%B %-d")
    ))
}

/// Why an appointment cannot begin then; `Err` for what no other time would mend.
pub(super) fn check_start(
    start_ms: i64,
    minutes: u16,
    calendar: &Calendar,
    now_ms: i64,
) -> Result<Option<String>, ClarifyingQuestion> {
    let at = calendar.to_local(start_ms);
    match calendar.check_start(start_ms, minutes, now_ms) {
        StartCheck::Bookable => Ok(None),
        StartCheck::TooSoon if start_ms < now_ms => {
            Err(format!("{} is past. Which other time suits?", at.strftime("%B %-d, %Y at %-I:%M %p")))
        }
        StartCheck::TooSoon => Ok(Some("That is too soon.".to_owned())),
        StartCheck::TooFarAhead => Err(format!(
            "Appointments can be booked until {}. Which other date suits?",
            calendar.last_bookable_date(now_ms).strftime("%B %-d, %Y")
        )),
        StartCheck::NotASlot => Ok(Some(describe_closed_reason(at, minutes, calendar))),
    }
}

/// Why none begins then.
fn describe_closed_reason(at: DateTime, minutes: u16, calendar: &Calendar) -> String {
    let (from, until) = calendar.format_opening_hours();
    let (day, then) = (at.strftime("%A, %B %-d"), at.strftime("%A, %B %-d at %-I:%M %p"));
    match calendar.closed_reason(at, minutes) {
        ClosedReason::ClosedDay => format!("There are no appointments on {day}."),
        ClosedReason::OutsideOpeningHours => {
            format!("There is no appointment on {then}: they are given from {from} to {until}.")
        }
        ClosedReason::EndsAfterClosing => {
            format!("It takes {minutes} minutes, and would not be over when we close at {until}.")
        }
        ClosedReason::BetweenSlots => {
            format!("There is no appointment on {then}: they begin {}.", calendar.format_slot_interval())
        }
    }
}
