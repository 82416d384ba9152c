//! Parses times in words: `halb drei`, `half past two`, `quarter to three`, `zwei Uhr`.

use super::parse_digits;

const HOUR_NAMES: [&[&str]; 12] = [
    &["one", "ein", "eins"],
    &["two", "zwei", "zwo"],
    &["three", "drei"],
    &["four", "vier"],
    &["five", "fünf", "fuenf"],
    &["six", "sechs"],
    &["seven", "sieben"],
    &["eight", "acht"],
    &["nine", "neun"],
    &["ten", "zehn"],
    &["eleven", "elf"],
    &["twelve", "zwölf", "zwoelf"],
];

/// Hour (1 to 12) and minute, or `None` for other words.
pub(super) fn parse_spoken_time(text: &str) -> Option<(i16, i16)> {
    let text = text.strip_suffix("uhr").unwrap_or(text).trim();
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        [hour] => Some((parse_hour_name(hour)?, 0)),
        // German counts towards the next hour: `halb drei` is 2:30, `dreiviertel drei` is 2:45.
        ["halb", next] => Some((previous_hour(parse_hour(next)?), 30)),
        ["dreiviertel", next] => Some((previous_hour(parse_hour(next)?), 45)),
        ["half", "past", hour] => Some((parse_hour(hour)?, 30)),
        ["quarter" | "viertel", "past" | "after" | "nach", hour] | ["a", "quarter", "past" | "after", hour] => {
            Some((parse_hour(hour)?, 15))
        }
        ["quarter" | "viertel", "to" | "before" | "vor", next] | ["a", "quarter", "to" | "before", next] => {
            Some((previous_hour(parse_hour(next)?), 45))
        }
        _ => None,
    }
}

fn previous_hour(hour: i16) -> i16 {
    if hour == 1 { 12 } else { hour - 1 }
}

fn parse_hour(word: &str) -> Option<i16> {
    parse_hour_name(word).or_else(|| parse_digits(word, 2).filter(|hour| (1..=12).contains(hour)))
}

fn parse_hour_name(word: &str) -> Option<i16> {
    (1_i16..).zip(HOUR_NAMES).find_map(|(hour, names)| names.contains(&word).then_some(hour))
}
