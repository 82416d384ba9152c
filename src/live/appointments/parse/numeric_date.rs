//! Parses dates that consist of digits and separators.

use jiff::civil::Date;

use super::date::DateContext;
use super::{ClarifyingQuestion, parse_digits};
use crate::config::DateOrder;

/// A date whose year may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartialDate {
    pub(super) year: Option<i16>,
    pub(super) month: i8,
    pub(super) day: i8,
}

impl PartialDate {
    fn new(year: Option<i16>, month: i16, day: i16) -> Option<Self> {
        let month = i8::try_from(month).ok()?;
        let day = i8::try_from(day).ok()?;
        // Without a year, February 29 is possible; 2024 is a leap year.
        Date::new(year.unwrap_or(2024), month, day).ok()?;
        Some(Self { year, month, day })
    }
}

/// Parses `2026-11-24`, `20261124`, `24.11.2026`, `24.11.`, `11/24/2026` and the like; `None` for other text.
pub(super) fn parse_numeric_date(text: &str, context: &DateContext) -> Option<Result<PartialDate, ClarifyingQuestion>> {
    if text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(parse_year_first([&text[..4], &text[4..6], &text[6..]], text, context));
    }
    let separator = ['.', '/', '-'].into_iter().find(|separator| text.contains(*separator))?;
    // Dots are used where the day comes first, unless the setting says otherwise.
    let order = if context.order == DateOrder::Auto && separator == '.' { DateOrder::Dmy } else { context.order };
    let body = if separator == '.' { text.strip_suffix('.').unwrap_or(text) } else { text };
    let parts: Vec<&str> = body.split(separator).map(str::trim).collect();
    if !parts.iter().all(|part| parse_digits(part, 4).is_some()) {
        return None;
    }
    match parts.as_slice() {
        [year, month, day] if year.len() == 4 => Some(parse_year_first([year, month, day], text, context)),
        [first, second, year] if year.len() == 4 || (year.len() == 2 && separator != '-') => {
            let year = parse_digits(year, 4).map(|year| if year < 100 { year + 2000 } else { year });
            Some(resolve_day_month_order([first, second], year, order, (text, context)))
        }
        [first, second] => Some(resolve_day_month_order([first, second], None, order, (text, context))),
        _ => Some(Err(format!("Which date is {text}? Please say the day, the month and the full year."))),
    }
}

fn parse_year_first(parts: [&str; 3], text: &str, context: &DateContext) -> Result<PartialDate, ClarifyingQuestion> {
    let [year, month, day] = parts.map(|part| parse_digits(part, 4));
    let (Some(year), Some(month), Some(day)) = (year, month, day) else {
        return Err(no_such_date(text, context));
    };
    PartialDate::new(Some(year), month, day).ok_or_else(|| no_such_date(text, context))
}

/// Decides which of the two numbers is the day. `text` is the whole date, for the question.
fn resolve_day_month_order(
    numbers: [&str; 2],
    year: Option<i16>,
    order: DateOrder,
    (text, context): (&str, &DateContext),
) -> Result<PartialDate, ClarifyingQuestion> {
    let [first, second] = numbers.map(|number| parse_digits(number, 2));
    let (Some(first), Some(second)) = (first, second) else {
        return Err(no_such_date(text, context));
    };
    let dmy = PartialDate::new(year, second, first);
    let mdy = PartialDate::new(year, first, second);
    match (order, dmy, mdy) {
        // Only one order gives a date, since 13 is not a month. That overrides the setting.
        (_, Some(day), None)
        | (_, None, Some(day))
        | (DateOrder::Dmy, Some(day), _)
        | (DateOrder::Mdy, _, Some(day)) => Ok(day),
        (DateOrder::Auto, Some(dmy), Some(mdy)) if dmy == mdy => Ok(dmy),
        (DateOrder::Auto, Some(dmy), Some(mdy)) => {
            let [dmy, mdy] = [dmy, mdy].map(format_month_day);
            Err(format!("Is {text} {dmy} or {mdy}? Please say the month by name."))
        }
        _ => Err(no_such_date(text, context)),
    }
}

fn format_month_day(day: PartialDate) -> String {
    Date::new(day.year.unwrap_or(2024), day.month, day.day)
        .map_or_else(|_| "another day".to_owned(), |date| date.strftime("%B %-d").to_string())
}

pub(super) fn no_such_date(text: &str, context: &DateContext) -> ClarifyingQuestion {
    let example = context.example.strftime("%B %-d, %Y");
    format!("The date {text} does not exist. Please say the day, month and year, such as {example}.")
}
