//! Parses dates and times as voice agents send them. Nothing is guessed: text that could mean two days is an error
//! with a question. No I/O; the current date is passed in.

mod calendar_names;
mod date;
mod date_with_time;
mod number_words;
mod numeric_date;
#[cfg(test)]
mod phrase_tests;
mod spoken_time;
#[cfg(test)]
mod tests;
mod time;
mod zone;

pub(super) use date::parse_iso_date_time;
pub(crate) use date::{DateContext, ParsedDate, parse_date};
pub(crate) use date_with_time::parse_day_part;
pub(crate) use time::{Meridiem, ParsedTime, parse_time};
pub(crate) use zone::split_time_zone;

/// Why a text cannot be parsed, as a question that the agent reads aloud.
pub(crate) type ClarifyingQuestion = String;

/// Lower case, single spaces, no commas, plain apostrophes, no punctuation at the end.
fn normalize_text(text: &str) -> String {
    let lower = text.to_lowercase().replace([',', '\u{a0}', '\u{202f}'], " ").replace(['\u{2019}', '\u{2bc}'], "'");
    strip_sentence_end(lower.trim()).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Removes the punctuation that ends a sentence. The dot of `24.11.` and `p.m.` has a meaning and stays.
fn strip_sentence_end(text: &str) -> &str {
    let text = text.trim_end_matches(['!', '?', ';', ' ']);
    let is_meridiem = [".m.", " m."].iter().any(|end| text.ends_with(end));
    match text.strip_suffix('.') {
        Some(rest) if !is_meridiem && rest.ends_with(char::is_alphabetic) => rest,
        _ => text,
    }
}

/// Parses a number of 1 to `max_digits` digits, without a sign.
fn parse_digits(text: &str, max_digits: usize) -> Option<i16> {
    let only_digits = (1..=max_digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if only_digits { text.parse().ok() } else { None }
}
