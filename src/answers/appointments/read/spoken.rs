//! Times in words: `halb drei`, `half past two`, `quarter to three`, `zwei Uhr`.

use super::number;

const HOURS: [&[&str]; 12] = [
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

/// Of twelve hours; `None`: it is not said in these words.
pub(super) fn hour_and_minute(text: &str) -> Option<(i16, i16)> {
    let text = text.strip_suffix("uhr").unwrap_or(text).trim();
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        [hour] => Some((named(hour)?, 0)),
        // Half of the hour that comes.
        ["halb", coming] => Some((before(hour(coming)?), 30)),
        ["dreiviertel", coming] => Some((before(hour(coming)?), 45)),
        ["half", "past", past] => Some((hour(past)?, 30)),
        ["quarter" | "viertel", "past" | "after" | "nach", past] | ["a", "quarter", "past" | "after", past] => {
            Some((hour(past)?, 15))
        }
        ["quarter" | "viertel", "to" | "before" | "vor", coming] | ["a", "quarter", "to" | "before", coming] => {
            Some((before(hour(coming)?), 45))
        }
        _ => None,
    }
}

fn before(hour: i16) -> i16 {
    if hour == 1 { 12 } else { hour - 1 }
}

fn hour(word: &str) -> Option<i16> {
    named(word).or_else(|| number(word, 2).filter(|hour| (1..=12).contains(hour)))
}

fn named(word: &str) -> Option<i16> {
    (1_i16..).zip(HOURS).find_map(|(hour, names)| names.contains(&word).then_some(hour))
}
