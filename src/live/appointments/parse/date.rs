//! Parses dates with their many spoken and written forms.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::number_words::{parse_number_words, parse_ordinal_words};
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
    if let Some(date) = parse_weeks_after_weekday(&words, today) {
        return Some(date);
    }
    let (weekdays, rest): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| calendar_names::parse_weekday(word).is_some());
    let weekday = weekdays.first().and_then(|word| calendar_names::parse_weekday(word));
    if weekdays.len() > 1 || words.is_empty() || words.windows(2).any(is_weekday_of_month) {
        return None;
    }
    if let Some(weekday) = weekday
        && let Some(has_next) = parse_next_modifier(&rest)
    {
        return Some(resolve_weekday(weekday, has_next, today));
    }
    let date = if let Some(day_of_month) = parse_day_ordinal(&rest) {
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

/// `second Wednesday`, `2. Mittwoch`: not the second day of a month.
fn is_weekday_of_month(words: &[&str]) -> bool {
    let [ordinal, weekday] = words else { return false };
    calendar_names::parse_weekday(weekday).is_some() && parse_day_ordinal(&[ordinal]).is_some_and(|number| number <= 5)
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
        ["in", count @ .., unit, "from", "today" | "now"]
        | ["in", count @ .., unit]
        | ["heute" | "today", "in", count @ .., unit]
        | [count @ .., unit, "from", "today" | "now"] => (count, *unit),
        _ => return None,
    };
    let count = parse_count(count)?;
    match unit {
        "day" | "days" | "tag" | "tagen" => Some(add_days(today, count)),
        "fortnight" => Some(add_days(today, count * 14)),
        "month" | "months" | "monat" | "monaten" => {
            Some(today.checked_add(count.months()).map_err(|_| too_far_ahead()))
        }
        unit if is_week(unit) => Some(add_days(today, count * 7)),
        _ => None,
    }
}

fn parse_count(words: &[&str]) -> Option<i32> {
    match words {
        [digits] if parse_digits(digits, 3).is_some() => parse_digits(digits, 3).map(i32::from),
        words => parse_number_words(words).map(i32::from),
    }
}

fn is_week(word: &str) -> bool {
    matches!(word, "week" | "weeks" | "woche" | "wochen")
}

/// Parses `Friday week`, `two weeks from Friday`, `Friday in two weeks`, `in zwei Wochen am Freitag`, without filler
/// words.
fn parse_weeks_after_weekday(words: &[&str], today: Date) -> Option<Result<Date, ClarifyingQuestion>> {
    let (weekday, weeks, counts_from_weekday) = match words {
        [weekday, "week"] => (weekday, 1, true),
        [count @ .., unit, "from", weekday] if is_week(unit) => (weekday, parse_count(count)?, true),
        [weekday, "in", count @ .., unit] | ["in", count @ .., unit, weekday] if is_week(unit) => {
            (weekday, parse_count(count)?, false)
        }
        _ => return None,
    };
    let weekday = calendar_names::parse_weekday(weekday)?;
    let after_coming = add_days(today, i32::from(today.weekday().until(weekday)) + weeks * 7);
    let of_week = day_of_week(weekday, weeks, today);
    Some(match (of_week, after_coming) {
        // Late in a week, `Friday in two weeks` may count from this week or from the coming Friday.
        (Ok(one), Ok(other)) if !counts_from_weekday && one != other => Err(which_of(one, other)),
        (_, after_coming) => after_coming,
    })
}

/// Parses a weekday of a named week: `Friday next week`, `nächste Woche am Freitag`. Weeks begin on Monday.
fn parse_day_of_named_week(text: &str, today: Date) -> Option<Result<Date, ClarifyingQuestion>> {
    let words: Vec<&str> = text.split(' ').collect();
    let week = words.iter().position(|word| matches!(*word, "week" | "woche"))?;
    let (name, weeks) = match (&words[..week], &words[week + 1..]) {
        (_, ["after", "next", ..]) => (week..week + 3, 2),
        ([.., modifier], _) => (week - 1..week + 1, weeks_ahead(modifier)?),
        _ => return None,
    };
    let rest = words[..name.start].iter().chain(&words[name.end..]);
    let mut rest = rest.filter(|word| !DATE_FILLER_WORDS.contains(word) && **word != "in");
    let weekday = calendar_names::parse_weekday(rest.next()?)?;
    rest.next().is_none().then(|| day_of_week(weekday, weeks, today))
}

/// How many weeks ahead the week with this word before it is.
fn weeks_ahead(modifier: &str) -> Option<i32> {
    let modifier = modifier.replace('ä', "ae").replace('ü', "ue");
    match modifier.trim_end_matches(['n', 'r']) {
        "this" | "diese" => Some(0),
        "next" | "naechste" | "kommende" => Some(1),
        "uebernaechste" => Some(2),
        _ => None,
    }
}

/// A weekday of the week that is `weeks` ahead.
fn day_of_week(weekday: Weekday, weeks: i32, today: Date) -> Result<Date, ClarifyingQuestion> {
    let days = i32::from(weekday.to_monday_zero_offset()) - i32::from(today.weekday().to_monday_zero_offset());
    add_days(today, weeks * 7 + days)
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
    Err(which_of(first, second))
}

fn which_of(one: Date, other: Date) -> ClarifyingQuestion {
    format!("Do you mean {}, or {}?", one.strftime("%A, %B %-d"), other.strftime("%A, %B %-d"))
}

fn add_days(day: Date, days: i32) -> Result<Date, ClarifyingQuestion> {
    day.checked_add(days.days()).map_err(|_| too_far_ahead())
}

fn too_far_ahead() -> ClarifyingQuestion {
    "Sorry, that is too far ahead. Which date do you mean?".to_owned()
}

/// Parses `21 november 2026`, `november 21st`, `21. nov`, `zweiter november`: month, day and optional year in any
/// order, each at most once.
fn parse_named_month(words: &[&str]) -> Option<PartialDate> {
    let mut month = None;
    let mut year = None;
    let mut day_words = Vec::new();
    for word in words {
        let repeated = if let Some(number) = calendar_names::parse_month(word) {
            month.replace(number).is_some()
        } else if word.len() == 4
            && let Some(number) = parse_digits(word, 4)
        {
            year.replace(number).is_some()
        } else {
            day_words.push(*word);
            false
        };
        if repeated {
            return None;
        }
    }
    let day = match day_words.as_slice() {
        [digits] if parse_digits(digits, 2).is_some() => i8::try_from(parse_digits(digits, 2)?).ok(),
        words => parse_day_ordinal(words),
    };
    Some(PartialDate { year, month: month?, day: day? })
}

/// Parses `24th`, `24.` and `twenty-fourth`, a day without month and year. A bare `24` may be anything, and is not
/// accepted.
fn parse_day_ordinal(words: &[&str]) -> Option<i8> {
    let with_suffix = match words {
        [word] => ["st", "nd", "rd", "th", "."].iter().find_map(|end| parse_digits(word.strip_suffix(end)?, 2)),
        _ => None,
    };
    i8::try_from(with_suffix.or_else(|| parse_ordinal_words(words))?).ok()
}

/// The next date with this day of the month, today included.
fn next_day_of_month(day_of_month: i8, today: Date) -> Option<Date> {
    // Two months ahead are enough: of two consecutive months, one has 31 days.
    let months = (0..=2_i32).filter_map(|ahead| today.first_of_month().checked_add(ahead.months()).ok());
    let mut dates = months.filter_map(|month| Date::new(month.year(), month.month(), day_of_month).ok());
    dates.find(|date| *date >= today)
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
