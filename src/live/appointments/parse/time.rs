//! Parses times of day in digits; `spoken_time` parses words.

use jiff::civil::Time;

use super::{ClarifyingQuestion, normalize_text, parse_digits, spoken_time};

/// A time of day, and whether AM or PM is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParsedTime {
    pub time: Time,
    /// Set for an hour from 1 to 11 without a leading zero and without AM or PM: it may be meant twelve hours later.
    pub am_pm_ambiguous: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meridiem {
    Am,
    Pm,
}

/// Parses a time: `14:30`, `14.30 Uhr`, `1430`, `14 h`, `2:30 pm`, `2 PM`, `noon`, or the time of a full ISO
/// date-time.
///
/// # Errors
/// A question that asks for the time again.
pub(crate) fn parse_time(text: &str) -> Result<ParsedTime, ClarifyingQuestion> {
    let normalized = normalize_text(text);
    let clock = match normalized.split_at_checked(10) {
        Some((date, rest)) if date.split('-').map(str::len).eq([4, 2, 2]) => rest.trim_start_matches(['t', ' ']),
        _ => &normalized,
    };
    parse_normalized_time(clock).ok_or_else(|| {
        format!("Sorry, I did not understand the time {text:?}. Please say it with AM or PM, such as 2:30 PM.")
    })
}

pub(super) fn parse_normalized_time(text: &str) -> Option<ParsedTime> {
    let text =
        ["at ", "um ", "gegen ", "around ", "about "].iter().find_map(|word| text.strip_prefix(word)).unwrap_or(text);
    let text = &text.replace("p. m", "p.m").replace("a. m", "a.m");
    if let Some(time) = parse_noon_or_midnight(text) {
        return Some(ParsedTime { time, am_pm_ambiguous: false });
    }
    let (clock, meridiem) = split_meridiem(text);
    let clock = ["o'clock", "o clock", "oclock"].iter().find_map(|end| clock.strip_suffix(end)).unwrap_or(clock).trim();
    if let Some((hour, minute)) = spoken_time::parse_spoken_time(clock) {
        return resolve_time(hour, minute, meridiem, true);
    }
    let clock = match ["uhr", "hrs", "hours", "h"].iter().find_map(|word| clock.strip_suffix(word)) {
        Some(clock) => clock.trim().to_owned(),
        // `14 Uhr 30` and `14h30`.
        None => clock.replace(" uhr ", ":").replace('h', ":"),
    };
    let (hour, minute, is_24_hour) = parse_clock_time(&clock)?;
    resolve_time(hour, minute, meridiem, !is_24_hour)
}

/// `noon`, `12:00 noon`, `12 Uhr mittags`, `midnight`.
fn parse_noon_or_midnight(text: &str) -> Option<Time> {
    let names = [("noon", 12), ("midday", 12), ("mittags", 12), ("mittag", 12), ("midnight", 0), ("mitternacht", 0)];
    let (clock, hour) = names.into_iter().find_map(|(name, hour)| Some((text.strip_suffix(name)?.trim(), hour)))?;
    let is_twelve =
        matches!(clock, "" | "12" | "12:00" | "12.00" | "12 uhr" | "12:00 uhr" | "twelve" | "zwölf" | "zwölf uhr");
    is_twelve.then(|| Time::constant(hour, 0, 0, 0))
}

/// `may_be_12_hour`: the way in which the hour is written does not show that it is a 24-hour time.
fn resolve_time(hour: i16, minute: i16, meridiem: Option<Meridiem>, may_be_12_hour: bool) -> Option<ParsedTime> {
    let time = |hour: i16| Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok();
    let time = match meridiem {
        None => time(hour)?,
        Some(Meridiem::Am) if (1..=12).contains(&hour) => time(hour % 12)?,
        Some(Meridiem::Pm) if (1..=12).contains(&hour) => time(hour % 12 + 12)?,
        // `14:30 pm`: redundant, but clear.
        Some(Meridiem::Pm) if hour > 12 => time(hour)?,
        Some(_) => return None,
    };
    let am_pm_ambiguous = meridiem.is_none() && may_be_12_hour && (1..=11).contains(&hour);
    Some(ParsedTime { time, am_pm_ambiguous })
}

fn split_meridiem(text: &str) -> (&str, Option<Meridiem>) {
    let words = [
        ("p.m.", Meridiem::Pm),
        ("p.m", Meridiem::Pm),
        ("pm", Meridiem::Pm),
        ("in the afternoon", Meridiem::Pm),
        ("in the evening", Meridiem::Pm),
        ("nachmittags", Meridiem::Pm),
        ("abends", Meridiem::Pm),
        ("a.m.", Meridiem::Am),
        ("a.m", Meridiem::Am),
        ("am", Meridiem::Am),
        ("in the morning", Meridiem::Am),
        ("morgens", Meridiem::Am),
        ("vormittags", Meridiem::Am),
    ];
    for (word, meridiem) in words {
        if let Some(clock) = text.strip_suffix(word) {
            return (clock.trim(), Some(meridiem));
        }
    }
    (text, None)
}

/// Hour, minute, and whether it is written as a 24-hour time: four digits, or an hour with a leading zero.
fn parse_clock_time(clock: &str) -> Option<(i16, i16, bool)> {
    if clock.len() >= 3
        && let Some(digits) = parse_digits(clock, 4)
    {
        return Some((digits / 100, digits % 100, clock.len() == 4));
    }
    let mut parts = clock.split([':', '.']);
    let hour = parts.next()?;
    let minute = match parts.next() {
        Some(minute) if minute.len() == 2 => parse_digits(minute, 2)?,
        Some(_) => return None,
        None => 0,
    };
    // Programs add seconds and milliseconds. Other than zero they cannot be a slot, so the text is not understood.
    let seconds_are_zero = parts.next().is_none_or(|seconds| seconds == "00");
    let milliseconds_are_zero = parts.all(|part| part == "000");
    if !(seconds_are_zero && milliseconds_are_zero) {
        return None;
    }
    Some((parse_digits(hour, 2)?, minute, hour.starts_with('0')))
}
