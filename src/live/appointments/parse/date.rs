//! Parses dates with their many spoken and written forms.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::number_words::parse_number_words;
use super::numeric_date::{self, PartialDate, no_such_date};
use super::time::{Meridiem, ParsedTime};
use super::{ClarifyingQuestion, calendar_names, date_with_time, normalize_text, parse_digits};
use crate::config::DateOrder;

const DATE_FILLER_WORDS: [&str; 14] =
    ["on", "the", "of", "am", "den", "der", "dem", "this", "coming", "diesen", "dieser", "kommenden", "at", "for"];

/// What the meaning of a date depends on.
#[derive(Clone, Debug)]
pub(crate) struct DateContext {
    pub today: Date,
    pub zone: TimeZone,
    pub order: DateOrder,
    /// A day that can be booked, for examples in questions.
    pub example: Date,
}

/// A date, and what else the text said about the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParsedDate {
    pub date: Date,
    /// Not set for an ISO date-time at midnight where a date is expected.
    pub time: Option<ParsedTime>,
    /// The part of the day, if the text has one and no time: `tomorrow afternoon`.
    pub day_part: Option<Meridiem>,
    /// Set for an ISO date-time with an offset.
    pub timestamp: Option<Timestamp>,
}

impl From<Date> for ParsedDate {
    fn from(date: Date) -> Self {
        Self { date, time: None, day_part: None, timestamp: None }
    }
}

/// Parses a date: ISO, digits in the order of the setting, a named month, a weekday, `today`, `in two weeks`, `Friday
/// next week`, also together with a time or a part of the day. Without a year it is the next such date.
///
/// # Errors
/// A question that asks for the date again, or which of two dates is meant.
pub(crate) fn parse_date(text: &str, context: &DateContext) -> Result<ParsedDate, ClarifyingQuestion> {
    let normalized = normalize_text(text);
    // Must come before the general date-time: with an offset, midnight would be another day in `zone`.
    if let Some(date) = parse_midnight_as_date(&normalized) {
        return Ok(date.into());
    }
    let iso = parse_iso_date_time(&normalized, context);
    if let Some(Ok(parsed)) = iso {
        return Ok(parsed);
    }
    if let Some(date) = parse_plain_date(&normalized, context) {
        return date.map(ParsedDate::from);
    }
    let with_time = date_with_time::parse_date_with_time(&normalized, context);
    with_time.or(iso).unwrap_or_else(|| Err(unclear_date(text, context)))
}

/// Parses normalized text that is only a date; `None` for other text.
pub(super) fn parse_plain_date(text: &str, context: &DateContext) -> Option<Result<Date, ClarifyingQuestion>> {
    let today = context.today;
    if let Some(date) = parse_relative_date(text, today).or_else(|| parse_day_of_named_week(text, today)) {
        return Some(date);
    }
    let words: Vec<&str> = text.split(' ').filter(|word| !DATE_FILLER_WORDS.contains(word)).collect();
    let (weekdays, rest): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| calendar_names::parse_weekday(word).is_some());
    let weekday = weekdays.first().and_then(|word| calendar_names::parse_weekday(word));
    if weekdays.len() > 1 || words.is_empty() {
        return None;
    }
    if let Some(weekday) = weekday
        && let Some(has_next) = parse_next_modifier(&rest)
    {
        return Some(resolve_weekday(weekday, has_next, today));
    }
    let date = if let [word] = rest.as_slice()
        && let Some(day_of_month) = parse_day_ordinal(word)
    {
        next_day_of_month(day_of_month, today)
    } else {
        let day = match numeric_date::parse_numeric_date(&rest.join(" "), context) {
            Some(Ok(day)) => day,
            Some(Err(question)) => return Some(Err(question)),
            None => parse_named_month(&rest)?,
        };
        resolve_year(day, today)
    };
    Some(date.ok_or_else(|| no_such_date(text, context)).and_then(|date| check_weekday(date, weekday)))
}

/// A weekday that does not fit the date is asked about: either of the two may be wrong.
fn check_weekday(date: Date, weekday: Option<Weekday>) -> Result<Date, ClarifyingQuestion> {
    match weekday {
        Some(weekday) if date.weekday() != weekday => {
            Err(format!("{} is a {}. Which day do you mean?", date.strftime("%B %-d, %Y"), date.strftime("%A")))
        }
        _ => Ok(date),
    }
}

fn unclear_date(text: &str, context: &DateContext) -> ClarifyingQuestion {
    let example = context.example.strftime("%B %-d");
    format!("Sorry, I did not understand the date {text:?}. Please say the day and the month, such as {example}.")
}

/// Parses a full ISO date-time; `None` for anything else. One with an offset is an instant, and converted to the time
/// zone of the context.
pub(in super::super) fn parse_iso_date_time(
    text: &str,
    context: &DateContext,
) -> Option<Result<ParsedDate, ClarifyingQuestion>> {
    let (date, clock) = split_iso_date_time(text)?;
    let iso = format!("{date}T{clock}");
    let parsed = |local: DateTime, timestamp| ParsedDate {
        time: Some(ParsedTime { time: local.time(), am_pm_ambiguous: false }),
        timestamp,
        ..ParsedDate::from(local.date())
    };
    // A `Timestamp` requires an offset.
    if let Ok(instant) = iso.parse::<Timestamp>() {
        return Some(Ok(parsed(context.zone.to_datetime(instant), Some(instant))));
    }
    match iso.parse::<DateTime>() {
        Ok(local) => Some(Ok(parsed(local, None))),
        Err(_) => Some(Err(no_such_date(text, context))),
    }
}

/// Splits at the `T` or space if the text looks like an ISO date-time.
fn split_iso_date_time(text: &str) -> Option<(&str, &str)> {
    let (date, clock) = text.trim().split_once(['t', 'T', ' '])?;
    let is_iso_date = date.len() == 10 && date.split('-').map(str::len).eq([4, 2, 2]);
    let is_clock = clock.starts_with(|c: char| c.is_ascii_digit());
    (is_iso_date && is_clock).then_some((date, clock))
}

/// The date of a date-time at midnight, ignoring its offset: programs serialize a bare date this way.
fn parse_midnight_as_date(text: &str) -> Option<Date> {
    let (date, clock) = split_iso_date_time(text)?;
    let without_offset = clock.split(['z', '+', '-']).next()?;
    let is_midnight =
        without_offset.starts_with("00:00") && without_offset.chars().all(|c| matches!(c, '0' | ':' | '.'));
    if is_midnight { date.parse().ok() } else { None }
}

fn parse_relative_date(text: &str, today: Date) -> Option<Result<Date, ClarifyingQuestion>> {
    let days = match text {
        "today" | "heute" => 0,
        "tomorrow" | "morgen" => 1,
        "day after tomorrow" | "the day after tomorrow" | "übermorgen" | "uebermorgen" => 2,
        _ => return parse_distance(text, today),
    };
    Some(add_days(today, days))
}

/// Parses `in 3 days`, `in two weeks`, `a week from today`, `heute in zwei Wochen`, `in einem Monat`.
fn parse_distance(text: &str, today: Date) -> Option<Result<Date, ClarifyingQuestion>> {
    let words: Vec<&str> = text.split(' ').collect();
    let (count, unit) = match words.as_slice() {
        ["in", count @ .., unit]
        | ["heute" | "today", "in", count @ .., unit]
        | [count @ .., unit, "from", "today" | "now"] => (count, *unit),
        _ => return None,
    };
    let count = match count {
        [digits] if parse_digits(digits, 3).is_some() => parse_digits(digits, 3)?,
        words => parse_number_words(words)?,
    };
    let count = i32::from(count);
    match unit {
        "day" | "days" | "tag" | "tagen" => Some(add_days(today, count)),
        "week" | "weeks" | "woche" | "wochen" => Some(add_days(today, count * 7)),
        "fortnight" => Some(add_days(today, count * 14)),
        "month" | "months" | "monat" | "monaten" => {
            Some(today.checked_add(count.months()).map_err(|_| too_far_ahead()))
        }
        _ => None,
    }
}

/// Names of weeks, and how many weeks ahead each is. Longer ones come first.
const NAMED_WEEKS: [(&str, i32); 17] = [
    ("the week after next", 2),
    ("week after next", 2),
    ("in der übernächsten woche", 2),
    ("der übernächsten woche", 2),
    ("übernächste woche", 2),
    ("uebernaechste woche", 2),
    ("in der nächsten woche", 1),
    ("der nächsten woche", 1),
    ("der kommenden woche", 1),
    ("nächste woche", 1),
    ("naechste woche", 1),
    ("kommende woche", 1),
    ("next week", 1),
    ("in dieser woche", 0),
    ("dieser woche", 0),
    ("diese woche", 0),
    ("this week", 0),
];

/// Parses a weekday of a named week: `Friday next week`, `nächste Woche am Freitag`. Weeks begin on Monday.
fn parse_day_of_named_week(text: &str, today: Date) -> Option<Result<Date, ClarifyingQuestion>> {
    let (name, weeks) = NAMED_WEEKS.into_iter().find(|(name, _)| text.contains(name))?;
    let rest = text.replacen(name, " ", 1);
    let mut words = rest.split_whitespace().filter(|word| !DATE_FILLER_WORDS.contains(word));
    let weekday = calendar_names::parse_weekday(words.next()?)?;
    if words.next().is_some() {
        return None;
    }
    let days = i32::from(weekday.to_monday_zero_offset()) - i32::from(today.weekday().to_monday_zero_offset());
    Some(add_days(today, weeks * 7 + days))
}

/// For a weekday without a date: whether `next` comes before it. `None` if there are other words.
fn parse_next_modifier(rest: &[&str]) -> Option<bool> {
    match rest {
        [] => Some(false),
        ["next" | "nächsten" | "nächster" | "naechsten"] => Some(true),
        _ => None,
    }
}

/// The next such day. People mean different days by the weekday that it is today, and by `next Friday` while this
/// week's Friday is still to come; both are asked about. `next Friday` on a Friday can only be a week later.
fn resolve_weekday(weekday: Weekday, has_next: bool, today: Date) -> Result<Date, ClarifyingQuestion> {
    let days_ahead = i32::from(today.weekday().until(weekday));
    let is_today = days_ahead == 0;
    let first = add_days(today, days_ahead)?;
    let later_this_week = weekday.to_monday_zero_offset() > today.weekday().to_monday_zero_offset();
    let ambiguous = is_today || (has_next && later_this_week);
    if !ambiguous {
        return Ok(first);
    }
    let second = add_days(first, 7)?;
    if has_next && is_today {
        return Ok(second);
    }
    Err(format!("Do you mean {}, or {}?", first.strftime("%A, %B %-d"), second.strftime("%A, %B %-d")))
}

fn add_days(day: Date, days: i32) -> Result<Date, ClarifyingQuestion> {
    day.checked_add(days.days()).map_err(|_| too_far_ahead())
}

fn too_far_ahead() -> ClarifyingQuestion {
    "Sorry, that is too far ahead. Which date do you mean?".to_owned()
}

/// Parses `21 november 2026`, `november 21st`, `21. nov`: month, day and optional year in any order, each at most
/// once.
fn parse_named_month(words: &[&str]) -> Option<PartialDate> {
    let mut month = None;
    let mut day = None;
    let mut year = None;
    for word in words {
        let repeated = if let Some(number) = calendar_names::parse_month(word) {
            month.replace(number).is_some()
        } else if word.len() == 4
            && let Some(number) = parse_digits(word, 4)
        {
            year.replace(number).is_some()
        } else {
            let number = parse_digits(strip_ordinal_suffix(word), 2)?;
            day.replace(i8::try_from(number).ok()?).is_some()
        };
        if repeated {
            return None;
        }
    }
    Some(PartialDate { year, month: month?, day: day? })
}

/// Parses `24th` and `24.`, a day without month and year. A bare `24` may be anything, and is not accepted.
fn parse_day_ordinal(word: &str) -> Option<i8> {
    let digits = strip_ordinal_suffix(word);
    let has_suffix = digits.len() < word.len();
    if !has_suffix {
        return None;
    }
    i8::try_from(parse_digits(digits, 2)?).ok()
}

/// The next date with this day of the month, today included.
fn next_day_of_month(day_of_month: i8, today: Date) -> Option<Date> {
    // Two months ahead are enough: of two consecutive months, one has 31 days.
    let months = (0..=2_i32).filter_map(|ahead| today.first_of_month().checked_add(ahead.months()).ok());
    let mut dates = months.filter_map(|month| Date::new(month.year(), month.month(), day_of_month).ok());
    dates.find(|date| *date >= today)
}

fn strip_ordinal_suffix(word: &str) -> &str {
    ["st", "nd", "rd", "th", "."].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word)
}

/// Without a year it is the next such date, today included.
fn resolve_year(day: PartialDate, today: Date) -> Option<Date> {
    if let Some(year) = day.year {
        return Date::new(year, day.month, day.day).ok();
    }
    // February 29: two leap years may be eight years apart, as 1896 and 1904.
    let mut dates = (0..=8).filter_map(|years| Date::new(today.year() + years, day.month, day.day).ok());
    dates.find(|date| *date >= today)
}
