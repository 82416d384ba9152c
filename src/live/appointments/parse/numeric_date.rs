//! Dates of digits alone.

use jiff::civil::Date;

use super::{ClarifyingQuestion, parse_digits};
use crate::config::DateOrder;

/// A day whose year may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartialDate {
    pub(super) year: Option<i16>,
    pub(super) month: i8,
    pub(super) day: i8,
}

impl PartialDate {
    fn new(year: Option<i16>, month: i16, day: i16) -> Option<Self> {
        let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
        // 2024 has every day there is.
        Date::new(year.unwrap_or(2024), month, day).ok().map(|_| Self { year, month, day: day })
    }
}

/// `None`: it is no date of digits.
pub(super) fn parse_numeric_date(text: &str, order: DateOrder) -> Option<Result<PartialDate, ClarifyingQuestion>> {
    if text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(parse_year_first([&text[..4], &text[4..6], &text[6..]], text));
    }
    let separator = ['.', '/', '-'].into_iter().find(|separator| text.contains(*separator))?;
    let body = if separator == '.' { text.strip_suffix('.').unwrap_or(text) } else { text };
    let parts: Vec<&str> = body.split(separator).map(str::trim).collect();
    if !parts.iter().all(|part| parse_digits(part, 4).is_some()) {
        return None;
    }
    match parts.as_slice() {
        [year, month, day] if year.len() == 4 => Some(parse_year_first([year, month, day], text)),
        [first, second, year] if year.len() == 4 || (year.len() == 2 && separator != '-') => {
            let full = parse_digits(year, 4).map(|year| if year < 100 { year + 2000 } else { year });
            Some(resolve_day_month_order((first, second), full, separator, (order, text)))
        }
        [first, second] => Some(resolve_day_month_order((first, second), None, separator, (order, text))),
        _ => Some(Err(format!("Which date is {text}? Please give day, month and the year with four digits."))),
    }
}

fn parse_year_first(parts: [&str; 3], text: &str) -> Result<PartialDate, ClarifyingQuestion> {
    let [year, month, day] = parts.map(|part| parse_digits(part, 4));
    let day = year.zip(month).zip(day).and_then(|((year, month), day)| PartialDate::new(Some(year), month, day));
    day.ok_or_else(|| no_such_date(text))
}

/// Dots are written where the day comes first, unless the setting says otherwise.
fn resolve_day_month_order(
    (first, second): (&str, &str),
    year: Option<i16>,
    separator: char,
    (order, text): (DateOrder, &str),
) -> Result<PartialDate, ClarifyingQuestion> {
    let (Some(first), Some(second)) = (parse_digits(first, 2), parse_digits(second, 2)) else {
        return Err(no_such_date(text));
    };
    let (dmy, mdy) = (PartialDate::new(year, second, first), PartialDate::new(year, first, second));
    let order = if order == DateOrder::Auto && separator == '.' { DateOrder::Dmy } else { order };
    match (order, dmy, mdy) {
        // Thirteen is no month, whatever the setting.
        (_, Some(day), None)
        | (_, None, Some(day))
        | (DateOrder::Dmy, Some(day), _)
        | (DateOrder::Mdy, _, Some(day)) => Ok(day),
        (DateOrder::Auto, Some(dmy), Some(mdy)) if dmy == mdy => Ok(dmy),
        (DateOrder::Auto, Some(dmy), Some(mdy)) => {
            Err(format!("Is {text} {} or {}? Please name the month.", format_month_day(dmy), format_month_day(mdy)))
        }
        _ => Err(no_such_date(text)),
    }
}

fn format_month_day(day: PartialDate) -> String {
    Date::new(day.year.unwrap_or(2024), day.month, day.day)
        .map_or_else(|_| "another day".to_owned(), |date| date.strftime("%B %-d").to_string())
}

pub(super) fn no_such_date(text: &str) -> ClarifyingQuestion {
    format!("There is no date {text}. Please give day, month and year, such as 2026-11-21.")
}
