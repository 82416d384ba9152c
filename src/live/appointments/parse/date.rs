//! Dates.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::numeric_date::{self, PartialDate, no_such_date};
use super::{ClarifyingQuestion, calendar_names, normalize_text, parse_digits};
use crate::config::DateOrder;

/// Words that say nothing about the day.
const DATE_FILLER_WORDS: [&str; 14] =
    ["on", "the", "of", "am", "den", "der", "dem", "this", "coming", "diesen", "dieser", "kommenden", "at", "for"];

/// A day as it was said, and a time if that was said with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParsedDate {
    /// The day.
    pub date: Date,
    /// The time of a full ISO date-time. Midnight in a date says nothing but the day.
    pub time: Option<Time>,
    /// The moment of one with an offset.
    pub timestamp: Option<Timestamp>,
}

/// Reads a date said on the day `today` in `zone`: ISO, of digits in the order of the setting, with the name of the month, a
/// day of the week, `today`, `tomorrow`, `in 3 days`. Without a year it is the next such date.
///
/// # Errors
/// A sentence that asks.
pub(crate) fn parse_date(
    text: &str,
    today: Date,
    zone: &TimeZone,
    order: DateOrder,
) -> Result<ParsedDate, ClarifyingQuestion> {
    let tidied = normalize_text(text);
    let only = |date| ParsedDate { date, time: None, timestamp: None };
    if let Some(date) = parse_midnight_as_date(&tidied) {
        return Ok(only(date));
    }
    if let Some(reading) = parse_iso_date_time(&tidied, zone) {
        return reading;
    }
    if let Some(date) = parse_relative_date(&tidied, today) {
        return date.map(only);
    }
    let words: Vec<&str> = tidied.split(' ').filter(|word| !DATE_FILLER_WORDS.contains(word)).collect();
    let (weekdays, rest): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| calendar_names::parse_weekday(word).is_some());
    let weekday = weekdays.first().and_then(|word| calendar_names::parse_weekday(word));
    if weekdays.len() > 1 || words.is_empty() {
        return Err(unclear_date(text));
    }
    if let Some(weekday) = weekday
        && let Some(next) = parse_next_modifier(&rest)
    {
        return resolve_weekday(weekday, next, today).map(only);
    }
    if let [of_month] = rest.as_slice()
        && let Some(of_month) = parse_day_ordinal(of_month)
    {
        let date = next_day_of_month(of_month, today).ok_or_else(|| no_such_date(text))?;
        return check_weekday(date, weekday).map(only);
    }
    let day = match numeric_date::parse_numeric_date(&rest.join(" "), order) {
        Some(day) => day?,
        None => parse_named_month(&rest).ok_or_else(|| unclear_date(text))?,
    };
    let date = resolve_year(day, today).ok_or_else(|| no_such_date(text))?;
    check_weekday(date, weekday).map(only)
}

fn check_weekday(date: Date, weekday: Option<Weekday>) -> Result<Date, ClarifyingQuestion> {
    match weekday {
        Some(weekday) if date.weekday() != weekday => {
            Err(format!("{} is a {}. Which day is meant?", date.strftime("%B %-d, %Y"), date.strftime("%A")))
        }
        _ => Ok(date),
    }
}

fn unclear_date(text: &str) -> ClarifyingQuestion {
    format!("I cannot tell which date {text:?} is. Please give it such as 2026-11-21 or November 21.")
}

/// Reads a full ISO date-time; `None` for anything else. One with an offset is a moment, and its day that of `zone`.
pub(in super::super) fn parse_iso_date_time(
    text: &str,
    zone: &TimeZone,
) -> Option<Result<ParsedDate, ClarifyingQuestion>> {
    let (date, clock) = split_iso_date_time(text)?;
    let whole = format!("{date}T{clock}");
    let reading =
        |local: DateTime, moment| ParsedDate { date: local.date(), time: Some(local.time()), timestamp: moment };
    if let Ok(moment) = whole.parse::<Timestamp>() {
        return Some(Ok(reading(zone.to_datetime(moment), Some(moment))));
    }
    let local = whole.parse::<DateTime>().ok();
    Some(local.map(|local| reading(local, None)).ok_or_else(|| no_such_date(text)))
}

/// Date and time of an ISO date-time.
fn split_iso_date_time(text: &str) -> Option<(&str, &str)> {
    let (date, clock) = text.trim().split_once(['t', 'T', ' '])?;
    let iso = date.len() == 10 && date.split('-').map(str::len).eq([4, 2, 2]);
    (iso && clock.starts_with(|c: char| c.is_ascii_digit())).then_some((date, clock))
}

/// The day of a date-time at midnight, whatever its offset: programs write days so.
fn parse_midnight_as_date(text: &str) -> Option<Date> {
    let (date, clock) = split_iso_date_time(text)?;
    let bare = clock.split(['z', '+', '-']).next().filter(|clock| clock.starts_with("00:00"))?;
    bare.chars().all(|c| matches!(c, '0' | ':' | '.')).then(|| date.parse().ok())?
}

fn parse_relative_date(text: &str, today: Date) -> Option<Result<Date, ClarifyingQuestion>> {
    let days = match text {
        "today" | "heute" => 0,
        "tomorrow" | "morgen" => 1,
        "day after tomorrow" | "the day after tomorrow" | "übermorgen" | "uebermorgen" => 2,
        _ => {
            let mut words = text.split(' ');
            let (Some("in"), Some(count), Some(unit), None) = (words.next(), words.next(), words.next(), words.next())
            else {
                return None;
            };
            let count = if matches!(count, "a" | "one" | "einem" | "einer") { 1 } else { parse_digits(count, 3)? };
            match unit {
                "day" | "days" | "tag" | "tagen" => i32::from(count),
                "week" | "weeks" | "woche" | "wochen" => i32::from(count) * 7,
                _ => return None,
            }
        }
    };
    Some(add_days(today, days))
}

/// Whether nothing but a weekday is said, and `next` before it.
fn parse_next_modifier(rest: &[&str]) -> Option<bool> {
    match rest {
        [] => Some(false),
        ["next" | "nächsten" | "nächster" | "naechsten"] => Some(true),
        _ => None,
    }
}

/// The first such day after today; asked where people mean different ones: the day it is today, and a `next` day that comes
/// this week already.
fn resolve_weekday(weekday: Weekday, next: bool, today: Date) -> Result<Date, ClarifyingQuestion> {
    let ahead = i32::from(today.weekday().until(weekday));
    let first = add_days(today, ahead)?;
    let this_week = weekday.to_monday_zero_offset() > today.weekday().to_monday_zero_offset();
    let open = if next { this_week || ahead == 0 } else { ahead == 0 };
    if !open {
        return Ok(first);
    }
    let second = add_days(first, 7)?;
    if next && ahead == 0 {
        return Ok(second);
    }
    Err(format!("Is {} meant, or {}?", first.strftime("%A, %B %-d"), second.strftime("%A, %B %-d")))
}

fn add_days(day: Date, days: i32) -> Result<Date, ClarifyingQuestion> {
    day.checked_add(days.days()).map_err(|_| "That is too far ahead. Which date is meant?".to_owned())
}

/// `21 november 2026`, `november 21st`, `21. nov`.
fn parse_named_month(words: &[&str]) -> Option<PartialDate> {
    let (mut month, mut day, mut year) = (None, None, None);
    for word in words {
        if let Some(name) = calendar_names::parse_month(word) {
            (month.is_none()).then(|| month = Some(name))?;
        } else if let Some(number) = parse_digits(word, 4).filter(|_| word.len() == 4) {
            (year.is_none()).then(|| year = Some(number))?;
        } else {
            let number = parse_digits(strip_ordinal_suffix(word), 2)?;
            (day.is_none()).then(|| day = i8::try_from(number).ok())?;
        }
    }
    let (month, day) = (month?, day?);
    Some(PartialDate { year, month, day: day })
}

/// `24th`, `24.`: a day of which neither month nor year is said.
fn parse_day_ordinal(word: &str) -> Option<i8> {
    let digits = strip_ordinal_suffix(word);
    let day = parse_digits(digits, 2).filter(|_| digits.len() < word.len());
    day.and_then(|day| i8::try_from(day).ok())
}

/// The next day of this number.
fn next_day_of_month(of_month: i8, today: Date) -> Option<Date> {
    let months = (0..=2_i32).filter_map(|ahead| today.first_of_month().checked_add(ahead.months()).ok());
    let mut days = months.filter_map(|month| Date::new(month.year(), month.month(), of_month).ok());
    days.find(|day| *day >= today)
}

fn strip_ordinal_suffix(word: &str) -> &str {
    ["st", "nd", "rd", "th", "."].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word)
}

/// Without a year: the next such date.
fn resolve_year(day: PartialDate, today: Date) -> Option<Date> {
    if let Some(year) = day.year {
        return Date::new(year, day.month, day.day).ok();
    }
    // Eight years may lie between two leap years.
    let mut next = (0..=8).filter_map(|years| Date::new(today.year() + years, day.month, day.day).ok());
    next.find(|date| *date >= today)
}
