//! Times of day.

use jiff::civil::Time;

use super::{ClarifyingQuestion, normalize_text, parse_digits, spoken_time};

/// A time of day as it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParsedTime {
    /// The time.
    pub time: Time,
    /// An hour from 1 to 11 without a leading zero, and no word on whether it is before noon: in the afternoon it may be
    /// meant twelve hours later.
    pub am_pm_ambiguous: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meridiem {
    Am,
    Pm,
}

/// Reads a time: `14:30`, `14.30 Uhr`, `1430`, `14 h`, `2:30 pm`, `2 PM`, `noon`, or that of a full ISO date-time.
///
/// # Errors
/// A sentence that asks.
pub(crate) fn parse_time(text: &str) -> Result<ParsedTime, ClarifyingQuestion> {
    let tidied = normalize_text(text);
    let unclear = || format!("I cannot tell which time {text:?} is. Please give it such as 14:30 or 2:30 PM.");
    let clock = match tidied.split_at_checked(10) {
        Some((date, rest)) if date.split('-').map(str::len).eq([4, 2, 2]) => rest.trim_start_matches(['t', ' ']),
        _ => &tidied,
    };
    parse_normalized_time(clock).ok_or_else(unclear)
}

fn parse_normalized_time(text: &str) -> Option<ParsedTime> {
    let text = ["at ", "um ", "gegen "].iter().find_map(|word| text.strip_prefix(word)).unwrap_or(text);
    let text = &text.replace("p. m", "p.m").replace("a. m", "a.m");
    if matches!(text.as_str(), "noon" | "midday" | "12 noon" | "mittag" | "mittags") {
        return Some(ParsedTime { time: Time::constant(12, 0, 0, 0), am_pm_ambiguous: false });
    }
    let (clock, half) = split_meridiem(text);
    let clock = ["o'clock", "o clock", "oclock"].iter().find_map(|end| clock.strip_suffix(end)).unwrap_or(clock).trim();
    if let Some((hour, minute)) = spoken_time::parse_spoken_time(clock) {
        return resolve_time(hour, minute, half, true);
    }
    let clock = match ["uhr", "hrs", "hours", "h"].iter().find_map(|word| clock.strip_suffix(word)) {
        Some(clock) => clock.trim().to_owned(),
        // 14 Uhr 30, 14h30
        None => clock.replace(" uhr ", ":").replace('h', ":"),
    };
    let (hour, minute, padded) = parse_clock_time(&clock)?;
    resolve_time(hour, minute, half, !padded)
}

/// `open`: nothing in how the hour is written says that it is of 24.
fn resolve_time(hour: i16, minute: i16, half: Option<Meridiem>, open: bool) -> Option<ParsedTime> {
    let time = |hour: i16| Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok();
    let time = match half {
        None => time(hour)?,
        Some(Meridiem::Am) if (1..=12).contains(&hour) => time(hour % 12)?,
        Some(Meridiem::Pm) if (1..=12).contains(&hour) => time(hour % 12 + 12)?,
        // 14:30 pm says the same twice.
        Some(Meridiem::Pm) if hour > 12 => time(hour)?,
        Some(_) => return None,
    };
    let either_half = half.is_none() && open && (1..=11).contains(&hour);
    Some(ParsedTime { time, am_pm_ambiguous: either_half })
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
    words
        .into_iter()
        .find_map(|(word, half)| text.strip_suffix(word).map(|clock| (clock.trim(), Some(half))))
        .unwrap_or((text, None))
}

/// With whether the hour has a leading zero, or the digits are four: then it is of 24 hours.
fn parse_clock_time(clock: &str) -> Option<(i16, i16, bool)> {
    if let Some(digits) = parse_digits(clock, 4).filter(|_| clock.len() >= 3) {
        return Some((digits / 100, digits % 100, clock.len() == 4));
    }
    let mut parts = clock.split([':', '.']);
    let hour = parts.next()?;
    let minute = match parts.next() {
        Some(minute) if minute.len() == 2 => parse_digits(minute, 2)?,
        Some(_) => return None,
        None => 0,
    };
    // Seconds say nothing here, unless there are some.
    let whole = parts.next().is_none_or(|seconds| matches!(seconds, "00")) && parts.all(|part| part == "000");
    whole.then_some((parse_digits(hour, 2)?, minute, hour.starts_with('0')))
}
