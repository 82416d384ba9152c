//! Searches text for a phone number in any spelling: in E.164, with digits only, grouped by spaces, dashes or
//! brackets, without the country code, and with characters escaped as in JSON or URLs.

use std::fmt;

use super::number_spelling::{self, MAX_DIGITS, MIN_DIGITS, UnreadableNumber, e164_digits, is_separator};

/// Number of characters between two digits of one phone number, such as the `) ` in `(202) 555`. Each can be escaped.
const MAX_SEPARATORS: usize = 3;
/// The country codes that are not three digits long; all others are.
const ONE_DIGIT_COUNTRY_CODES: [&str; 2] = ["1", "7"];
const TWO_DIGIT_COUNTRY_CODES: [&str; 44] = [
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48", "49", "51",
    "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81", "82", "84", "86", "90",
    "91", "92", "93", "94", "95", "98",
];
/// Bytes of the longest separator, an escape such as `%E2%80%91`.
const MAX_SEPARATOR_BYTES: usize = 9;
const PLUS_SIGNS: [&[u8]; 5] = [b"+", b"%2B", b"%2b", b"\\u002b", b"\\u002B"];

/// Texts that carriers send instead of a withheld number, also in the spelling of a phone's keypad: `+266696687` is
/// "anonymous".
const WITHHELD_MARKERS: [&str; 13] = [
    "anonymous",
    "unknown",
    "restricted",
    "unavailable",
    "private",
    "withheld",
    "blocked",
    "undefined",
    "+266696687",
    "+8656696",
    "+7378742833",
    "+86282452253",
    "+2562533",
];

/// Whether the text replaces a withheld number. Such calls come from different people and must not be grouped.
#[must_use]
pub(crate) fn is_withheld(text: &str) -> bool {
    let user = text.trim();
    let user = user.strip_prefix("sip:").map_or(user, |address| address.split('@').next().unwrap_or_default());
    user.is_empty() || is_withheld_word(user)
}

/// Whether the text is one of the words, or numbers, that stand for a withheld number.
pub(super) fn is_withheld_word(text: &str) -> bool {
    WITHHELD_MARKERS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// A phone number to search for. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PhoneNumber {
    /// All digits as ASCII, including the country code.
    digits: Vec<u8>,
    /// Number of leading digits that are the country code.
    country_code_length: usize,
}

/// The text is not a phone number with its country code. The message does not quote the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidPhoneNumber {
    #[error("not a phone number: {0}")]
    Unreadable(#[from] UnreadableNumber),
    #[error("not a person's phone number, but a short code, a SIP user or a withheld number")]
    Shared,
}

impl std::str::FromStr for PhoneNumber {
    type Err = InvalidPhoneNumber;

    fn from_str(text: &str) -> Result<Self, InvalidPhoneNumber> {
        let number = number_spelling::parse(text)?;
        match e164_digits(&number) {
            Some(digits) if !is_withheld_word(&number) => {
                Ok(Self { country_code_length: country_code_length(digits), digits: digits.as_bytes().to_vec() })
            }
            _ => Err(InvalidPhoneNumber::Shared),
        }
    }
}

fn country_code_length(digits: &str) -> usize {
    if ONE_DIGIT_COUNTRY_CODES.contains(&&digits[..1]) {
        1
    } else if TWO_DIGIT_COUNTRY_CODES.contains(&&digits[..2]) {
        2
    } else {
        3
    }
}

impl PhoneNumber {
    pub(crate) fn digits(&self) -> &[u8] {
        &self.digits
    }

    /// The digits of the country code and those after it.
    pub(crate) fn split_country_code(&self) -> (&[u8], &[u8]) {
        self.digits.split_at(self.country_code_length)
    }

    /// Whether `text` contains the number in any spelling.
    #[must_use]
    pub(crate) fn occurs_in(&self, text: &[u8]) -> bool {
        let national = &self.digits[self.country_code_length..];
        // Most positions are excluded by their first byte, which keeps the scan of a large body fast.
        let first = [self.digits[0], national[0]];
        text.iter().enumerate().any(|(at, byte)| {
            first.contains(byte)
                && (self.matches_at(text, at, &self.digits) && number_can_start_at(text, at)
                    || national.len() >= MIN_DIGITS
                        && self.matches_at(text, at, national)
                        && self.national_number_can_start_at(text, at))
        })
    }

    /// Whether `digits` are at position `at` and no further digit follows.
    #[allow(clippy::unused_self, reason = "a method reads better next to `occurs_in`")]
    fn matches_at(&self, text: &[u8], at: usize, digits: &[u8]) -> bool {
        let mut at = at;
        for (position, digit) in digits.iter().enumerate() {
            if position > 0 && text.get(at) != Some(digit) {
                let Some(next) = skip_separators(text, at) else { return false };
                at = next;
            }
            if text.get(at) != Some(digit) {
                return false;
            }
            at += 1;
        }
        !text.get(at).is_some_and(u8::is_ascii_digit)
    }

    /// Whether the number without its country code can start at `at`: alone, after the trunk prefix `0`, or after its
    /// own country code, but not after the code of another country.
    fn national_number_can_start_at(&self, text: &[u8], at: usize) -> bool {
        let Some((start, before)) = preceding_digits(text, at) else { return false };
        match before {
            [] => true,
            b"0" => self.national_number_can_start_at(text, start),
            code if *code == self.digits[..self.country_code_length] => true,
            // Other digits that are separated from the number may be a list index or a word. After a plus they are a code.
            _ => start + before.len() < at && !ends_with_plus(&text[..start]),
        }
    }
}

/// Calls `visit` with each sequence of digits in `text` that could be a phone number, with or without its country code,
/// until it returns `false`. The sequences overlap: every number that [`PhoneNumber::occurs_in`] finds is among them.
pub(crate) fn for_each_candidate(text: &[u8], mut visit: impl FnMut(&[u8]) -> bool) {
    for start in 0..text.len() {
        if text[start].is_ascii_digit() && !visit_candidates_at(text, start, &mut visit) {
            return;
        }
    }
}

/// The candidates that begin at `start`; `false` when `visit` has ended the search.
fn visit_candidates_at(text: &[u8], start: usize, visit: &mut impl FnMut(&[u8]) -> bool) -> bool {
    let mut digits = [0; MAX_DIGITS];
    let mut at = start;
    for count in 1..=MAX_DIGITS {
        digits[count - 1] = text[at];
        at += 1;
        let is_end = !text.get(at).is_some_and(u8::is_ascii_digit);
        if is_end && count >= MIN_DIGITS && !visit(&digits[..count]) {
            return false;
        }
        match skip_separators(text, at) {
            Some(next) if text.get(next).is_some_and(u8::is_ascii_digit) => at = next,
            _ => return true,
        }
    }
    true
}

/// The position after up to three separators; `None` when something else follows or the text ends.
fn skip_separators(text: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..MAX_SEPARATORS {
        if text.get(at)?.is_ascii_digit() {
            break;
        }
        at += separator_length(&text[at..])?;
    }
    Some(at)
}

/// The bytes of the separator that `text` begins with, in UTF-8 or escaped in JSON or a URL.
fn separator_length(text: &[u8]) -> Option<usize> {
    let (character, length) = first_character(text)?;
    is_separator(character).then_some(length)
}

/// The first character, and the bytes that it takes: `\/`, `\u00a0`, `%C2%A0`, or UTF-8.
fn first_character(text: &[u8]) -> Option<(char, usize)> {
    match text {
        [b'\\', b'/', ..] => Some(('/', 2)),
        [b'\\', b'u', code @ ..] => {
            let code = std::str::from_utf8(code.get(..4)?).ok()?;
            Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, 6))
        }
        [b'%', ..] => {
            let escapes = text.chunks(3).take(3).map_while(|escape| {
                let code = escape.strip_prefix(b"%").filter(|code| code.len() == 2)?;
                u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()
            });
            let (character, length) = first_utf8_character(&escapes.collect::<Vec<_>>())?;
            Some((character, length * 3))
        }
        _ => first_utf8_character(text),
    }
}

fn first_utf8_character(text: &[u8]) -> Option<(char, usize)> {
    let character = text.get(..4).unwrap_or(text).utf8_chunks().next()?.valid().chars().next()?;
    Some((character, character.len_utf8()))
}

/// Whether a number can start at `at`: it must not follow a digit, except those of an escape (`%20`) and of an
/// international prefix (`00`, `011`).
fn number_can_start_at(text: &[u8], at: usize) -> bool {
    let before = &text[..at];
    if !before.last().is_some_and(u8::is_ascii_digit) || ends_with_escape(before) {
        return true;
    }
    [&b"00"[..], b"011"].iter().any(|prefix| {
        before
            .strip_suffix(*prefix)
            .is_some_and(|rest| !rest.last().is_some_and(u8::is_ascii_digit) || ends_with_escape(rest))
    })
}

/// Whether `text` ends with an escape such as `%20` or `\u0020`, whose digits are not a part of a number.
fn ends_with_escape(text: &[u8]) -> bool {
    let hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    matches!(text, [.., b'%', one, two] if hex(&[*one, *two]))
        || matches!(text, [.., b'\\', b'u', a, b, c, d] if hex(&[*a, *b, *c, *d]))
}

/// The digits before `at`, across up to three separators: their start and the digits. `None` when there are more
/// digits than a country code has.
fn preceding_digits(text: &[u8], at: usize) -> Option<(usize, &[u8])> {
    let mut start = at;
    for _ in 0..MAX_SEPARATORS {
        let ends_with_separator = |length: &usize| {
            start.checked_sub(*length).is_some_and(|begin| separator_length(&text[begin..start]) == Some(*length))
        };
        let Some(length) = (1..=MAX_SEPARATOR_BYTES).rev().find(ends_with_separator) else { break };
        start -= length;
    }
    let end = start;
    while start > 0 && text[start - 1].is_ascii_digit() && !ends_with_escape(&text[..start]) {
        start -= 1;
        if end - start > 3 {
            // The digits belong to another number. A separator in between means that this number starts at `at`.
            return (end < at).then_some((at, &[]));
        }
    }
    Some((start, &text[start..end]))
}

fn ends_with_plus(text: &[u8]) -> bool {
    PLUS_SIGNS.iter().any(|plus| text.ends_with(plus))
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> PhoneNumber {
        text.parse().unwrap()
    }

    #[test]
    fn all_common_spellings_are_found() {
        let number = number("+1 202-555-0143");
        for text in [
            "+12025550143",
            r#"{"from_number":"+12025550143"}"#,
            "12025550143",
            "0012025550143",
            "01112025550143",
            "+1 202 555 0143",
            "+1 (202) 555-0143",
            "+1.202.555.0143",
            "(202) 555-0143",
            "202-555-0143",
            "2025550143",
            r"\u002b12025550143",
            r"+1\u00a0202\u00a0555\u00a00143",
            "+1\u{a0}202\u{2011}555\u{2011}0143",
            "tel=%2B12025550143&x=1",
            "tel=%2B1%20202%20555%200143",
            "tel=%202025550143",
            "sip:12025550143@example.com",
            r#"{"number":12025550143}"#,
            "call 5 2025550143",
            "+12025550199 +12025550143",
            "+1\u{2212}202\u{ad}555\u{2068}0143",
            r"+1\u2068202\u221255\u00ad50143",
            "tel=%2B1%E2%80%91202%C2%A0555%E2%80%AF0143",
            "[202] 555\u{2014}0143",
        ] {
            assert!(number.occurs_in(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_not_found() {
        let number = number("+12025550143");
        for text in [
            "+12025550144",
            "120255501431",
            "912025550143",
            "+442025550143",
            "+44 2025550143",
            "%2B44%202025550143",
            "1790157660000",
            "202 ... 555 ... 0143",
            "2025550143555",
            "55520255501430",
            "",
        ] {
            assert!(!number.occurs_in(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn withheld_numbers_are_recognized() {
        for text in ["", " ", "anonymous", "Anonymous", "Restricted ", "+266696687", "sip:anonymous@anonymous.invalid"]
        {
            assert!(is_withheld(text), "{text}");
        }
        for text in ["+12025550143", "sip:12025550143@example.com", "sip:ada@example.com", "+7 378 742 83 35"] {
            assert!(!is_withheld(text), "{text}");
        }
    }

    #[test]
    fn numbers_with_other_country_codes_are_found() {
        let berlin = number("+49 30 901820");
        for text in ["+49 30 901820", "030 901820", "030/901820", "004930901820", "+49 (0)30 901820"] {
            assert!(berlin.occurs_in(text.as_bytes()), "{text}");
        }
        assert!(!berlin.occurs_in(b"+43 30 901820"));
        assert!(number("0049 30 901820") == berlin);
        for bad in ["", "+1", "4930901820", "030 901820", "+1234567890123456", "call_1"] {
            assert!(matches!(bad.parse::<PhoneNumber>(), Err(InvalidPhoneNumber::Unreadable(_))), "{bad}");
        }
        for shared in ["anonymous", "+266696687", "12345", "sip:+4930901820@example.com"] {
            assert_eq!(shared.parse::<PhoneNumber>(), Err(InvalidPhoneNumber::Shared), "{shared}");
        }
    }
}
