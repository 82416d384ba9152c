//! Dates and times as agents send them, read without guessing: what could mean two days is asked. Pure: the day it is said
//! on is passed in.

mod calendar_names;
mod date;
mod numeric_date;
mod spoken_time;
#[cfg(test)]
mod tests;
mod time;

pub(crate) use date::parse_date;
pub(super) use date::parse_iso_date_time;
pub(crate) use time::{ParsedTime, parse_time};

/// Why something cannot be read, as a sentence that asks for what is missing.
pub(crate) type ClarifyingQuestion = String;

/// Small letters, no doubled blanks, no commas.
fn normalize_text(text: &str) -> String {
    let lower = text.to_lowercase().replace([',', '\u{a0}', '\u{202f}'], " ").replace(['\u{2019}', '\u{2bc}'], "'");
    strip_sentence_end(lower.trim()).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without what ends a sentence; the dot of `24.11.` and `p.m.` says something.
fn strip_sentence_end(text: &str) -> &str {
    let text = text.trim_end_matches(['!', '?', ';', ' ']);
    let said = [".m.", " m."].iter().any(|end| text.ends_with(end));
    text.strip_suffix('.').filter(|rest| !said && rest.ends_with(char::is_alphabetic)).unwrap_or(text)
}

/// A number of one to `most` digits.
fn parse_digits(text: &str, most: usize) -> Option<i16> {
    let plain = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}
