//! Parses times in words: `halb drei`, `half past two`, `two thirty`, `dreizehn Uhr fünfzehn`, `ten to three`.

use super::number_words::parse_number_words;
use super::parse_digits;

/// Hour (0 to 23) and minute, or `None` for other words.
pub(super) fn parse_spoken_time(text: &str) -> Option<(i16, i16)> {
    let words: Vec<&str> = text.split(' ').filter(|word| !matches!(*word, "minutes" | "minute" | "minuten")).collect();
    // `dreizehn uhr` and `dreizehn uhr fünfzehn`.
    if let Some(position) = words.iter().position(|word| matches!(*word, "uhr" | "o'clock")) {
        let (hour, minute) = (&words[..position], &words[position + 1..]);
        return match (hour, minute) {
            (hour, []) => parse_spoken_time(&hour.join(" ")),
            (hour, minute) => Some((parse_hour(hour)?, parse_number_words(minute)?)),
        };
    }
    match words.as_slice() {
        // German counts towards the next hour: `halb drei` is 2:30, `dreiviertel drei` is 2:45.
        ["halb", next @ ..] => return Some((previous_hour(parse_12_hour(next)?), 30)),
        ["dreiviertel", next @ ..] => return Some((previous_hour(parse_12_hour(next)?), 45)),
        _ => {}
    }
    let past = |word: &&str| matches!(*word, "past" | "after" | "nach");
    let to = |word: &&str| matches!(*word, "to" | "before" | "vor" | "till" | "til");
    if let Some(position) = words.iter().position(past) {
        return Some((parse_12_hour(&words[position + 1..])?, parse_minutes(&words[..position])?));
    }
    if let Some(position) = words.iter().position(to) {
        let minutes = parse_minutes(&words[..position])?;
        return Some((previous_hour(parse_12_hour(&words[position + 1..])?), 60 - minutes));
    }
    // Digits alone are not spoken, see `time.rs`.
    if let Some(hour) = parse_number_words(&words).filter(|hour| *hour < 24) {
        return Some((hour, 0));
    }
    (1..words.len()).find_map(|at| {
        let (hour, minute) = words.split_at(at);
        Some((parse_number_words(hour).filter(|hour| *hour < 24)?, parse_minute_after_hour(minute)?))
    })
}

/// The minutes in `ten past two`: 1 to 59, `half` or a quarter.
fn parse_minutes(words: &[&str]) -> Option<i16> {
    match words {
        ["half"] => Some(30),
        ["quarter" | "viertel"] | ["a", "quarter"] => Some(15),
        [digits] if parse_digits(digits, 2).is_some() => {
            parse_digits(digits, 2).filter(|minutes| (1..60).contains(minutes))
        }
        words => parse_number_words(words).filter(|minutes| *minutes > 0),
    }
}

/// The minute in `two thirty` and `two oh five`. A single figure without `oh` would be another number.
fn parse_minute_after_hour(words: &[&str]) -> Option<i16> {
    match words {
        ["oh" | "o" | "zero" | "null", units @ ..] => {
            parse_number_words(units).filter(|minute| (1..10).contains(minute))
        }
        words => parse_number_words(words).filter(|minute| *minute >= 10),
    }
}

fn previous_hour(hour: i16) -> i16 {
    if hour == 1 { 12 } else { hour - 1 }
}

fn parse_12_hour(words: &[&str]) -> Option<i16> {
    parse_hour(words).filter(|hour| (1..=12).contains(hour))
}

fn parse_hour(words: &[&str]) -> Option<i16> {
    match words {
        [digits] if parse_digits(digits, 2).is_some() => parse_digits(digits, 2),
        words => parse_number_words(words),
    }
    .filter(|hour| *hour < 24)
}
