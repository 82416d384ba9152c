//! Dates.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::digits::{self, Day, no_such_day};
use super::{Unclear, day_names, number, tidy};
use crate::config::DateOrder;

/// Words that say nothing about the day.
const FILLERS: [&str; 14] =
    ["on", "the", "of", "am", "den", "der", "dem", "this", "coming", "diesen", "dieser", "kommenden", "at", "for"];

/// A day as it was said, and a time if that was said with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateReading {
    /// The day.
    pub date: Date,
    /// The time of a full ISO date-time. Midnight in a date says nothing but the day.
    pub time: Option<Time>,
    /// The moment of one with an offset.
    pub moment: Option<Timestamp>,
}

/// Reads a date said on the day `today` in `zone`: ISO, of digits in the order of the setting, with the name of the month, a
/// day of the week, `today`, `tomorrow`, `in 3 days`. Without a year it is the next such date.
///
/// # Errors
/// A sentence that asks.
pub fn read_date(text: &str, today: Date, zone: &TimeZone, order: DateOrder) -> Result<DateReading, Unclear> {
    let tidied = tidy(text);
    let only = |date| DateReading { date, time: None, moment: None };
    if let Some(date) = midnight(&tidied) {
        return Ok(only(date));
    }
    if let Some(reading) = read_date_time(&tidied, zone) {
        return reading;
    }
    if let Some(date) = relative(&tidied, today) {
        return date.map(only);
    }
    let words: Vec<&str> = tidied.split(' ').filter(|word| !FILLERS.contains(word)).collect();
    let (weekdays, rest): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| day_names::weekday(word).is_some());
    let weekday = weekdays.first().and_then(|word| day_names::weekday(word));
    if weekdays.len() > 1 || words.is_empty() {
        return Err(unclear(text));
    }
    if let Some(weekday) = weekday
        && let Some(next) = by_weekday(&rest)
    {
        return on_weekday(weekday, next, today).map(only);
    }
    if let [of_month] = rest.as_slice()
        && let Some(of_month) = ordinal_alone(of_month)
    {
        let date = of_this_or_next_month(of_month, today).ok_or_else(|| no_such_day(text))?;
        return on_that_weekday(date, weekday).map(only);
    }
    let day = match digits::read(&rest.join(" "), order) {
        Some(day) => day?,
        None => with_month(&rest).ok_or_else(|| unclear(text))?,
    };
    let date = in_year(day, today).ok_or_else(|| no_such_day(text))?;
    on_that_weekday(date, weekday).map(only)
}

fn on_that_weekday(date: Date, weekday: Option<Weekday>) -> Result<Date, Unclear> {
    match weekday {
        Some(weekday) if date.weekday() != weekday => {
            Err(format!("{} is a {}. Which day is meant?", date.strftime("%B %-d, %Y"), date.strftime("%A")))
        }
        _ => Ok(date),
    }
}

fn unclear(text: &str) -> Unclear {
    format!("I cannot tell which date {text:?} is. Please give it such as 2026-11-21 or November 21.")
}

/// Reads a full ISO date-time; `None` for anything else. One with an offset is a moment, and its day that of `zone`.
pub(in super::super) fn read_date_time(text: &str, zone: &TimeZone) -> Option<Result<DateReading, Unclear>> {
    let (date, clock) = parts(text)?;
    let whole = format!("{date}T{clock}");
    let reading = |local: DateTime, moment| DateReading { date: local.date(), time: Some(local.time()), moment };
    if let Ok(moment) = whole.parse::<Timestamp>() {
        return Some(Ok(reading(zone.to_datetime(moment), Some(moment))));
    }
    let local = whole.parse::<DateTime>().ok();
    Some(local.map(|local| reading(local, None)).ok_or_else(|| no_such_day(text)))
}

/// Date and time of an ISO date-time.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (date, clock) = text.trim().split_once(['t', 'T', ' '])?;
    let iso = date.len() == 10 && date.split('-').map(str::len).eq([4, 2, 2]);
    (iso && clock.starts_with(|c: char| c.is_ascii_digit())).then_some((date, clock))
}

/// The day of a date-time at midnight, whatever its offset: programs write days so.
fn midnight(text: &str) -> Option<Date> {
    let (date, clock) = parts(text)?;
    let bare = clock.split(['z', '+', '-']).next().filter(|clock| clock.starts_with("00:00"))?;
    bare.chars().all(|c| matches!(c, '0' | ':' | '.')).then(|| date.parse().ok())?
}

fn relative(text: &str, today: Date) -> Option<Result<Date, Unclear>> {
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
            let count = if matches!(count, "a" | "one" | "einem" | "einer") { 1 } else { number(count, 3)? };
            match unit {
                "day" | "days" | "tag" | "tagen" => i32::from(count),
                "week" | "weeks" | "woche" | "wochen" => i32::from(count) * 7,
                _ => return None,
            }
        }
    };
    Some(plus(today, days))
}

/// Whether nothing but a weekday is said, and `next` before it.
fn by_weekday(rest: &[&str]) -> Option<bool> {
    match rest {
        [] => Some(false),
        ["next" | "nächsten" | "nächster" | "naechsten"] => Some(true),
        _ => None,
    }
}

/// The first such day after today; asked where people mean different ones: the day it is today, and a `next` day that comes
/// this week already.
fn on_weekday(weekday: Weekday, next: bool, today: Date) -> Result<Date, Unclear> {
    let ahead = i32::from(today.weekday().until(weekday));
    let first = plus(today, ahead)?;
    let this_week = weekday.to_monday_zero_offset() > today.weekday().to_monday_zero_offset();
    let open = if next { this_week || ahead == 0 } else { ahead == 0 };
    if !open {
        return Ok(first);
    }
    let second = plus(first, 7)?;
    if next && ahead == 0 {
        return Ok(second);
    }
    Err(format!("Is {} meant, or {}?", first.strftime("%A, %B %-d"), second.strftime("%A, %B %-d")))
}

fn plus(day: Date, days: i32) -> Result<Date, Unclear> {
    day.checked_add(days.days()).map_err(|_| "That is too far ahead. Which date is meant?".to_owned())
}

/// `21 november 2026`, `november 21st`, `21. nov`.
fn with_month(words: &[&str]) -> Option<Day> {
    let (mut month, mut day, mut year) = (None, None, None);
    for word in words {
        if let Some(name) = day_names::month(word) {
            (month.is_none()).then(|| month = Some(name))?;
        } else if let Some(number) = number(word, 4).filter(|_| word.len() == 4) {
            (year.is_none()).then(|| year = Some(number))?;
        } else {
            let number = number(ordinal(word), 2)?;
            (day.is_none()).then(|| day = i8::try_from(number).ok())?;
        }
    }
    let (month, day) = (month?, day?);
    Some(Day { year, month, of_month: day })
}

/// `24th`, `24.`: a day of which neither month nor year is said.
fn ordinal_alone(word: &str) -> Option<i8> {
    let digits = ordinal(word);
    let day = number(digits, 2).filter(|_| digits.len() < word.len());
    day.and_then(|day| i8::try_from(day).ok())
}

/// The next day of this number.
fn of_this_or_next_month(of_month: i8, today: Date) -> Option<Date> {
    let months = (0..=2_i32).filter_map(|ahead| today.first_of_month().checked_add(ahead.months()).ok());
    let mut days = months.filter_map(|month| Date::new(month.year(), month.month(), of_month).ok());
    days.find(|day| *day >= today)
}

fn ordinal(word: &str) -> &str {
    ["st", "nd", "rd", "th", "."].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word)
}

/// Without a year: the next such date.
fn in_year(day: Day, today: Date) -> Option<Date> {
    if let Some(year) = day.year {
        return Date::new(year, day.month, day.of_month).ok();
    }
    // Eight years may lie between two leap years.
    let mut next = (0..=8).filter_map(|years| Date::new(today.year() + years, day.month, day.of_month).ok());
    next.find(|date| *date >= today)
}
