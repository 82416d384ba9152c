//! Parses a date together with a time or a part of the day in one text: `tomorrow at 3 pm`, `morgen Nachmittag`.

use jiff::ToSpan;
use jiff::civil::Date;

use super::date::{DateContext, ParsedDate, parse_plain_date};
use super::time::{Meridiem, ParsedTime, parse_normalized_time};
use super::{ClarifyingQuestion, calendar_names};

/// Words for a part of the day, at the end of a text. Longer ones come first.
const DAY_PARTS: [(&str, Meridiem); 19] = [
    ("in the afternoon", Meridiem::Pm),
    ("in the evening", Meridiem::Pm),
    ("in the morning", Meridiem::Am),
    ("am nachmittag", Meridiem::Pm),
    ("am vormittag", Meridiem::Am),
    ("am abend", Meridiem::Pm),
    ("am morgen", Meridiem::Am),
    ("nachmittags", Meridiem::Pm),
    ("vormittags", Meridiem::Am),
    ("abends", Meridiem::Pm),
    ("morgens", Meridiem::Am),
    ("afternoon", Meridiem::Pm),
    ("nachmittag", Meridiem::Pm),
    ("vormittag", Meridiem::Am),
    ("evening", Meridiem::Pm),
    ("morning", Meridiem::Am),
    ("abend", Meridiem::Pm),
    ("früh", Meridiem::Am),
    ("morgen", Meridiem::Am),
];

/// Parses normalized text; `None` if it is not a date with something else.
pub(super) fn parse_date_with_time(
    text: &str,
    context: &DateContext,
) -> Option<Result<ParsedDate, ClarifyingQuestion>> {
    let words: Vec<&str> = text.split(' ').collect();
    // The longest date before a time is tried first.
    for at in (1..words.len()).rev() {
        let (before, after) = (words[..at].join(" "), words[at..].join(" "));
        for (date, clock) in [(&before, &after), (&after, &before)] {
            if let Some(time) = parse_explicit_time(clock)
                && let Some(day) = parse_day(date, context)
            {
                return Some(day.map(|(date, day_part)| ParsedDate {
                    time: Some(day_part.map_or(time, |day_part| time.in_part_of_day(day_part))),
                    ..ParsedDate::from(date)
                }));
            }
        }
    }
    let (_, day_part) = split_day_part(text)?;
    let day = parse_day(text, context)?;
    Some(day.map(|(date, _)| ParsedDate { day_part: Some(day_part), ..ParsedDate::from(date) }))
}

/// The part of the day, if the text names nothing else.
pub(crate) fn parse_day_part(text: &str) -> Option<Meridiem> {
    let (rest, day_part) = split_day_part(&super::normalize_text(text))?;
    rest.is_empty().then_some(day_part)
}

/// A time that is not only digits: `10` after a date may be anything.
fn parse_explicit_time(text: &str) -> Option<ParsedTime> {
    if text.bytes().all(|b| b.is_ascii_digit()) { None } else { parse_normalized_time(text) }
}

/// A date, and the part of the day if there is one.
fn parse_day(text: &str, context: &DateContext) -> Option<Result<(Date, Option<Meridiem>), ClarifyingQuestion>> {
    if let Some(date) = parse_plain_date(text, context) {
        return Some(date.map(|date| (date, None)));
    }
    let (rest, day_part) = split_day_part(text)?;
    let date = match rest.as_str() {
        // `this afternoon`, `heute Abend`, `tonight`.
        "this" | "diesen" | "tonight" => Ok(context.today),
        rest => parse_plain_date(rest, context)?,
    };
    Some(date.map(|date| (date, Some(day_part))))
}

/// The text without its part of the day.
fn split_day_part(text: &str) -> Option<(String, Meridiem)> {
    if text == "tonight" {
        return Some((text.to_owned(), Meridiem::Pm));
    }
    let (rest, day_part) =
        DAY_PARTS.into_iter().find_map(|(part, meridiem)| Some((text.strip_suffix(part)?, meridiem)))?;
    // `Montagnachmittag` is one word; `übermorgen` is not a part of the day.
    let is_word = rest.is_empty() || rest.ends_with(' ');
    let is_compound = || rest.split(' ').next_back().is_some_and(|word| calendar_names::parse_weekday(word).is_some());
    (is_word || is_compound()).then(|| (rest.trim().to_owned(), day_part))
}

impl ParsedTime {
    /// A time whose AM or PM is open, in a part of the day.
    pub(crate) fn in_part_of_day(self, day_part: Meridiem) -> Self {
        let afternoon = if day_part == Meridiem::Pm { self.time.wrapping_add(12.hours()) } else { self.time };
        if self.am_pm_ambiguous { Self { time: afternoon, am_pm_ambiguous: false } } else { self }
    }
}
