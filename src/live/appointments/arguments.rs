//! Reads the arguments of the appointment functions. Every error is a question to the caller.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value};

use super::calendar::{Calendar, ClosedReason, StartCheck};
use super::parse::{ClarifyingQuestion, ParsedTime, parse_date, parse_iso_date_time, parse_time};
use crate::base::id::SPOKEN_CODE_LENGTH;
use crate::config::normalize_name;
use crate::storage::sanitize_text;

/// The first of these arguments that is not empty, as text. Values other than strings and numbers count as missing.
pub(super) fn find_text(arguments: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let value = |name: &&str| match arguments.get(*name)? {
        Value::String(text) => Some(collapse_whitespace(text)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let first = names.iter().filter_map(value).find(|text| !text.is_empty());
    sanitize_text(first)
}

/// Removes line breaks and control characters too, since the text is read aloud and printed in tables.
fn collapse_whitespace(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The name as it is stored, and the key by which names are compared.
pub(super) fn parse_name(arguments: &Map<String, Value>) -> Option<(String, String)> {
    let name = find_text(arguments, &["name"])?;
    let key = normalize_name(&name);
    (!key.is_empty()).then_some((name, key))
}

/// The confirmation number without separators and without words spoken around it: `my number is K 7 M 2 X Q` is
/// `K7M2XQ`.
pub(super) fn parse_confirmation_number(arguments: &Map<String, Value>) -> Option<String> {
    const CONFIRMATION_FILLER_WORDS: [&str; 12] =
        ["MY", "THE", "IT", "ITS", "IS", "NUMBER", "CODE", "CONFIRMATION", "BOOKING", "NUMMER", "PLEASE", "LAUTET"];
    let text = find_text(arguments, &["confirmation_number", "confirmation"])?.to_uppercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    // Short enough to be the number alone. Filler words stay then, since a number may happen to be `NUMBER`.
    if words.iter().map(|word| word.len()).sum::<usize>() <= SPOKEN_CODE_LENGTH {
        return Some(words.concat());
    }
    let number: String = words.into_iter().filter(|word| !CONFIRMATION_FILLER_WORDS.contains(word)).collect();
    // Words that are not in the list usually come before the number, so the last characters count.
    let start = number.len().saturating_sub(SPOKEN_CODE_LENGTH);
    Some(number[start..].to_owned())
}

/// Arguments for the start of the new appointment. Some models add `new_` when they change one; that name wins.
const NEW_DATE_ARGUMENTS: [&str; 2] = ["new_date", "date"];
const NEW_TIME_ARGUMENTS: [&str; 2] = ["new_time", "time"];

/// Whether a new date, time or service is given.
pub(super) fn has_changes(arguments: &Map<String, Value>) -> bool {
    [&NEW_DATE_ARGUMENTS[..], &NEW_TIME_ARGUMENTS, &["service"]]
        .iter()
        .any(|names| find_text(arguments, names).is_some())
}

/// The current date and time of an appointment as far as the caller gave them. Selects one of several.
#[derive(Default)]
pub(super) struct CurrentTimeHint {
    date: Option<Date>,
    time: Option<ParsedTime>,
}

impl CurrentTimeHint {
    /// Whether the hint is not empty and fits this start.
    pub(super) fn matches(&self, start: DateTime) -> bool {
        let same_time = |parsed: ParsedTime| {
            let afternoon = parsed.time.wrapping_add(12.hours());
            parsed.time == start.time() || (parsed.am_pm_ambiguous && afternoon == start.time())
        };
        (self.date.is_some() || self.time.is_some())
            && self.date.is_none_or(|date| date == start.date())
            && self.time.is_none_or(same_time)
    }
}

/// For a change, `date` and `time` are the current ones only if `new_date` or `new_time` is given too. Otherwise they
/// are the new ones, and the hint is empty.
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

/// The hint in `date` and `time`. What cannot be read is ignored: a hint only narrows the choice.
pub(super) fn parse_current_time_hint(
    arguments: &Map<String, Value>,
    calendar: &Calendar,
    now_ms: i64,
) -> CurrentTimeHint {
    let parse =
        |text: String| parse_date(&text, calendar.local_date(now_ms), &calendar.time_zone, calendar.date_order).ok();
    CurrentTimeHint {
        date: find_text(arguments, &["date"]).and_then(parse).map(|parsed| parsed.date),
        time: find_text(arguments, &["time"]).and_then(|text| parse_time(&text).ok()),
    }
}

/// The requested start, as milliseconds since the Unix epoch. A missing date or time is taken from `current`, the
/// start of the appointment that is changed.
pub(super) fn parse_start_ms(
    arguments: &Map<String, Value>,
    calendar: &Calendar,
    now_ms: i64,
    current: Option<DateTime>,
) -> Result<i64, ClarifyingQuestion> {
    let parse = |text: String| parse_date(&text, calendar.local_date(now_ms), &calendar.time_zone, calendar.date_order);
    let date_argument = find_text(arguments, &NEW_DATE_ARGUMENTS).map(parse).transpose()?;
    let time_argument = find_text(arguments, &NEW_TIME_ARGUMENTS);
    // Models put date and time into either argument, or into both. Both may hold a full date-time; they must agree
    // then.
    let date_time_argument =
        time_argument.as_deref().and_then(|text| parse_iso_date_time(text, &calendar.time_zone)).transpose()?;
    if let (Some(one), Some(other)) = (date_argument, date_time_argument)
        && one.date != other.date
    {
        let [one, other] = [one, other].map(|parsed| parsed.date.strftime("%A, %B %-d").to_string());
        return Err(format!("Did you mean {one}, or {other}?"));
    }
    let requested_date = date_argument.or(date_time_argument).map(|parsed| parsed.date);
    let Some(date) = requested_date.or(current.map(DateTime::date)) else {
        return Err("What date would you like?".to_owned());
    };
    let time_in_date = date_argument.and_then(|parsed| parsed.time);
    let time_in_date_time = date_time_argument.and_then(|parsed| parsed.time);
    let time = match (time_in_date_time, time_argument, time_in_date, current) {
        (Some(time), ..) => reconcile_times(unambiguous_time(time), time_in_date)?,
        (None, Some(text), ..) => reconcile_times(parse_time(&text)?, time_in_date)?,
        (None, None, Some(time), _) => unambiguous_time(time),
        (None, None, None, Some(current)) => unambiguous_time(current.time()),
        (None, None, None, None) => return Err("What time would you like?".to_owned()),
    };
    let local = date.to_datetime(resolve_am_pm(time, date, calendar)?);
    // When clocks go back, two instants show the same local time. An offset in the arguments decides which one is
    // meant; it is ignored if it does not lead to the local time that was resolved above.
    let with_offset = [date_argument, date_time_argument].into_iter().flatten().find_map(|parsed| parsed.timestamp);
    let named_ms = with_offset.map(Timestamp::as_millisecond);
    match named_ms.filter(|start_ms| calendar.to_local(*start_ms) == local) {
        Some(start_ms) => Ok(start_ms),
        None => calendar.to_timestamp_ms(local),
    }
}

fn unambiguous_time(time: Time) -> ParsedTime {
    ParsedTime { time, am_pm_ambiguous: false }
}

/// A time in the date argument must equal the time argument. Midnight in a date is ignored: programs write a bare
/// date so.
fn reconcile_times(parsed: ParsedTime, time_in_date: Option<Time>) -> Result<ParsedTime, ClarifyingQuestion> {
    match time_in_date.filter(|time| *time != Time::midnight() && *time != parsed.time) {
        None => Ok(parsed),
        // "2:30" next to a date-time at 14:30 means the afternoon.
        Some(time) if parsed.am_pm_ambiguous && parsed.time.wrapping_add(12.hours()) == time => {
            Ok(unambiguous_time(time))
        }
        Some(time) => {
            let [one, other] = [time, parsed.time].map(|time| time.strftime("%-I:%M %p").to_string());
            Err(format!("Did you mean {one} or {other}?"))
        }
    }
}

/// Asks about a time such as `2:30` if only the afternoon is within opening hours. The afternoon is likely then, but
/// times are never guessed.
fn resolve_am_pm(parsed: ParsedTime, date: Date, calendar: &Calendar) -> Result<Time, ClarifyingQuestion> {
    let afternoon = parsed.time.wrapping_add(12.hours());
    if !parsed.am_pm_ambiguous
        || calendar.is_within_opening_hours(parsed.time)
        || !calendar.is_within_opening_hours(afternoon)
    {
        return Ok(parsed.time);
    }
    Err(format!(
        "Did you mean {} on {}? Please say the time with AM or PM.",
        afternoon.strftime("%-I:%M %p"),
        date.strftime("%B %-d")
    ))
}

/// Why an appointment cannot start then, as a sentence; `None` if it can.
///
/// # Errors
/// A question where the next free times would not help: the start is in the past or beyond the horizon.
pub(super) fn check_start(
    start_ms: i64,
    minutes: u16,
    calendar: &Calendar,
    now_ms: i64,
) -> Result<Option<String>, ClarifyingQuestion> {
    let start = calendar.to_local(start_ms);
    match calendar.check_start(start_ms, minutes, now_ms) {
        StartCheck::Bookable => Ok(None),
        StartCheck::TooSoon if start_ms < now_ms => Err(format!(
            "{} is in the past. What other time would suit you?",
            start.strftime("%B %-d, %Y at %-I:%M %p")
        )),
        StartCheck::TooSoon => Ok(Some("Sorry, that is too short notice.".to_owned())),
        StartCheck::TooFarAhead => Err(format!(
            "Sorry, we only book appointments up to {}. What other date would suit you?",
            calendar.last_bookable_date(now_ms).strftime("%B %-d, %Y")
        )),
        StartCheck::NotASlot => Ok(Some(describe_closed_reason(start, minutes, calendar))),
    }
}

fn describe_closed_reason(start: DateTime, minutes: u16, calendar: &Calendar) -> String {
    let (opens, closes) = calendar.format_opening_hours();
    let day = start.strftime("%A, %B %-d");
    let time = start.strftime("%-I:%M %p");
    match calendar.closed_reason(start, minutes) {
        ClosedReason::ClosedDay => format!("Sorry, we have no appointments on {day}."),
        ClosedReason::OutsideOpeningHours => {
            format!("Sorry, we are closed on {day} at {time}. Our hours are {opens} to {closes}.")
        }
        ClosedReason::EndsAfterClosing => {
            format!("Sorry, that takes {minutes} minutes, and we close at {closes}.")
        }
        ClosedReason::BetweenSlots => {
            let interval = calendar.format_slot_interval();
            format!("Sorry, I cannot book {time} on {day}. Appointments start {interval}.")
        }
    }
}
