//! Reads the arguments of the appointment functions. Every error is a question to the caller.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value};

use super::calendar::{Calendar, ClosedReason, StartCheck};
use super::parse::{
    ClarifyingQuestion, DateContext, Meridiem, ParsedDate, ParsedTime, parse_date, parse_day_part, parse_iso_date_time,
    parse_time, split_time_zone,
};
use super::person_name::person_name_key;
use crate::base::id::SPOKEN_CODE_LENGTH;
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
    let key = person_name_key(&name);
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
    let context = calendar.date_context(now_ms);
    let without_zone = |text: String| {
        split_time_zone(&text, &calendar.time_zone, &calendar.time_zone_name, context.today)
            .map_or(text, |(text, _)| text)
    };
    let date = find_text(arguments, &["date"]).map(without_zone).and_then(|text| parse_date(&text, &context).ok());
    let time =
        find_text(arguments, &["time"]).map(without_zone).and_then(|text| parse_time_argument(&text, &context).ok());
    let (time, date_in_time) = match time {
        Some(TimeArgument::Time(time)) => (Some(time), None),
        Some(TimeArgument::DateTime(parsed)) => (parsed.time, Some(parsed.date)),
        None => (None, None),
    };
    CurrentTimeHint {
        date: date.map(|parsed| parsed.date).or(date_in_time),
        time: time.or(date.and_then(|parsed| parsed.time)),
    }
}

/// What `time` holds. Models put date and time into either argument, or into both.
enum TimeArgument {
    Time(ParsedTime),
    DateTime(ParsedDate),
}

fn parse_time_argument(text: &str, context: &DateContext) -> Result<TimeArgument, ClarifyingQuestion> {
    if let Some(Ok(parsed)) = parse_iso_date_time(text, context) {
        return Ok(TimeArgument::DateTime(parsed));
    }
    let date = parse_date(text, context);
    if let Ok(parsed) = date
        && parsed.time.is_some()
    {
        return Ok(TimeArgument::DateTime(parsed));
    }
    match (parse_time(text), date) {
        (Ok(time), _) => Ok(TimeArgument::Time(time)),
        (Err(_), Ok(parsed)) => Ok(TimeArgument::DateTime(parsed)),
        (Err(question), Err(_)) => Err(parse_day_part(text).map_or(question, ask_for_time_in)),
    }
}

fn ask_for_time_in(day_part: Meridiem) -> ClarifyingQuestion {
    let part = if day_part == Meridiem::Am { "morning" } else { "afternoon" };
    format!("What time in the {part} would you like?")
}

/// The requested start, as milliseconds since the Unix epoch. A missing date or time is taken from `current`, the
/// start of the appointment that is changed.
pub(super) fn parse_start_ms(
    arguments: &Map<String, Value>,
    calendar: &Calendar,
    now_ms: i64,
    current: Option<DateTime>,
) -> Result<i64, ClarifyingQuestion> {
    let context = calendar.date_context(now_ms);
    // The time zone that a caller named, if it is not the company's.
    let mut other_zone = None;
    let mut without_zone = |text: String| {
        let (text, zone) = split_time_zone(&text, &calendar.time_zone, &calendar.time_zone_name, context.today)?;
        other_zone = zone.or(other_zone.take());
        Ok::<_, ClarifyingQuestion>(text)
    };
    let date_text = find_text(arguments, &NEW_DATE_ARGUMENTS).map(&mut without_zone).transpose()?;
    let time_text = find_text(arguments, &NEW_TIME_ARGUMENTS).map(&mut without_zone).transpose()?;
    let date_argument = date_text.map(|text| parse_date(&text, &context)).transpose()?;
    let (time_argument, date_time_argument) =
        match time_text.map(|text| parse_time_argument(&text, &context)).transpose()? {
            Some(TimeArgument::Time(time)) => (Some(time), None),
            Some(TimeArgument::DateTime(parsed)) => (None, Some(parsed)),
            None => (None, None),
        };
    let parsed_dates = [date_argument, date_time_argument];
    let date = agreed_date(parsed_dates, current)?;
    let time = agreed_time(time_argument, parsed_dates, current)?;
    if let Some(zone) = other_zone {
        return to_timestamp_in(&zone, date.to_datetime(time.time), time.am_pm_ambiguous);
    }
    let local = date.to_datetime(resolve_am_pm(time, date, calendar)?);
    // When clocks go back, two instants show the same local time. An offset in the arguments decides which one is
    // meant; it is ignored if it does not lead to the local time that was resolved above.
    let with_offset = parsed_dates.into_iter().flatten().find_map(|parsed| parsed.timestamp);
    let named_ms = with_offset.map(Timestamp::as_millisecond);
    match named_ms.filter(|start_ms| calendar.to_local(*start_ms) == local) {
        Some(start_ms) => Ok(start_ms),
        None => calendar.to_timestamp_ms(local),
    }
}

/// The date in either argument; both must agree if both have one.
fn agreed_date(
    [date_argument, date_time_argument]: [Option<ParsedDate>; 2],
    current: Option<DateTime>,
) -> Result<Date, ClarifyingQuestion> {
    if let (Some(one), Some(other)) = (date_argument, date_time_argument)
        && one.date != other.date
    {
        let [one, other] = [one, other].map(|parsed| parsed.date.strftime("%A, %B %-d").to_string());
        return Err(format!("Did you mean {one}, or {other}?"));
    }
    let requested = date_argument.or(date_time_argument).map(|parsed| parsed.date);
    requested.or(current.map(DateTime::date)).ok_or_else(|| "What date would you like?".to_owned())
}

/// The time in either argument; both must agree if both have one. A part of the day settles whether AM or PM is meant.
fn agreed_time(
    time_argument: Option<ParsedTime>,
    [date_argument, date_time_argument]: [Option<ParsedDate>; 2],
    current: Option<DateTime>,
) -> Result<ParsedTime, ClarifyingQuestion> {
    let time_in_date = date_argument.and_then(|parsed| parsed.time);
    let day_part = [date_argument, date_time_argument].into_iter().flatten().find_map(|parsed| parsed.day_part);
    let time = time_argument.or(date_time_argument.and_then(|parsed| parsed.time));
    let time = match (time, time_in_date) {
        (Some(time), _) => reconcile_times(time, time_in_date)?,
        (None, Some(time)) => time,
        (None, None) => match (day_part, current) {
            (Some(day_part), _) => return Err(ask_for_time_in(day_part)),
            (None, Some(current)) => unambiguous_time(current.time()),
            (None, None) => return Err("What time would you like?".to_owned()),
        },
    };
    Ok(day_part.map_or(time, |day_part| time.in_part_of_day(day_part)))
}

/// The instant of a time in a zone that is not the company's.
fn to_timestamp_in(zone: &TimeZone, local: DateTime, am_pm_ambiguous: bool) -> Result<i64, ClarifyingQuestion> {
    if am_pm_ambiguous {
        return Err("Is that in the morning or in the afternoon? Please say the time with AM or PM.".to_owned());
    }
    match zone.to_ambiguous_timestamp(local).compatible() {
        Ok(instant) => Ok(instant.as_millisecond()),
        Err(_) => Err("Sorry, I cannot book that date. What other date would suit you?".to_owned()),
    }
}

fn unambiguous_time(time: Time) -> ParsedTime {
    ParsedTime { time, am_pm_ambiguous: false }
}

/// A time in the date argument must equal the time argument. Midnight in a date is ignored: programs write a bare
/// date so.
fn reconcile_times(parsed: ParsedTime, time_in_date: Option<ParsedTime>) -> Result<ParsedTime, ClarifyingQuestion> {
    let afternoon = |time: ParsedTime| time.time.wrapping_add(12.hours());
    match time_in_date.filter(|other| other.time != Time::midnight() && other.time != parsed.time) {
        None => Ok(parsed),
        // "2:30" next to a date-time at 14:30 means the afternoon.
        Some(other) if parsed.am_pm_ambiguous && afternoon(parsed) == other.time => Ok(other),
        Some(other) if other.am_pm_ambiguous && afternoon(other) == parsed.time => Ok(parsed),
        Some(other) => {
            let [one, other] = [other, parsed].map(|time| time.time.strftime("%-I:%M %p").to_string());
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
            "{} is in the past; today is {}. What other time would suit you?",
            start.strftime("%B %-d, %Y at %-I:%M %p"),
            calendar.format_today(now_ms)
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
