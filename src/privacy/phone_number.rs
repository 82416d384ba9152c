//! Searches text for a phone number in any spelling: in E.164, with digits only, grouped by spaces, dashes or
//! brackets, without the country code, and with characters escaped as in JSON or URLs.

use std::fmt;

/// Fewer digits would match too many numbers that are not phone numbers.
const MIN_DIGITS: usize = 7;
const MAX_DIGITS: usize = 15;
/// Number of characters between two digits of one phone number, such as the `) ` in `(202) 555`. Each can be escaped.
const MAX_SEPARATORS: usize = 3;
/// The country codes that are not three digits long; all others are.
const ONE_DIGIT_COUNTRY_CODES: [&str; 2] = ["1", "7"];
const TWO_DIGIT_COUNTRY_CODES: [&str; 44] = [
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48", "49", "51",
    "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81", "82", "84", "86", "90",
    "91", "92", "93", "94", "95", "98",
];
/// Separators between the digits of a number, as bytes: in UTF-8 and as escaped in JSON and URLs.
const SEPARATORS: [&[u8]; 33] = [
    b" ",
    b"-",
    b".",
    b"(",
    b")",
    b"/",
    b"+",
    "\u{a0}".as_bytes(),
    "\u{2009}".as_bytes(),
    "\u{2010}".as_bytes(),
    "\u{2011}".as_bytes(),
    "\u{2012}".as_bytes(),
    "\u{2013}".as_bytes(),
    "\u{202f}".as_bytes(),
    b"\\u00a0",
    b"\\u2009",
    b"\\u2010",
    b"\\u2011",
    b"\\u2012",
    b"\\u2013",
    b"\\u202f",
    b"\\u202F",
    b"\\u00A0",
    b"\\u0020",
    b"\\u002d",
    b"\\u002D",
    b"\\/",
    b"%20",
    b"%2D",
    b"%2d",
    b"%28",
    b"%29",
    b"%C2%A0",
];
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
    user.is_empty() || WITHHELD_MARKERS.iter().any(|word| user.eq_ignore_ascii_case(word))
}

/// A phone number to search for. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PhoneNumber {
    /// All digits as ASCII, including the country code.
    digits: Vec<u8>,
    /// Number of leading digits that are the country code.
    country_code_length: usize,
}

/// The text is not a phone number in international form. The message does not quote the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a phone number: give it with its country code, such as +12025550143 (7 to 15 digits)")]
pub(crate) struct InvalidPhoneNumber;

impl std::str::FromStr for PhoneNumber {
    type Err = InvalidPhoneNumber;

    fn from_str(text: &str) -> Result<Self, InvalidPhoneNumber> {
        let text = text.trim();
        let allowed = |c: char| c.is_ascii_digit() || " -.()/".contains(c);
        if !text.strip_prefix('+').unwrap_or(text).chars().all(allowed) {
            return Err(InvalidPhoneNumber);
        }
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let international = digits.strip_prefix("00").filter(|_| !text.starts_with('+')).unwrap_or(&digits);
        if !(MIN_DIGITS..=MAX_DIGITS).contains(&international.len()) || international.starts_with('0') {
            return Err(InvalidPhoneNumber);
        }
        Ok(Self { country_code_length: country_code_length(international), digits: international.as_bytes().to_vec() })
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
        at += SEPARATORS.iter().find(|separator| text[at..].starts_with(separator))?.len();
    }
    Some(at)
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
        let separator =
            SEPARATORS.iter().filter(|separator| text[..start].ends_with(separator)).max_by_key(|s| s.len());
        let Some(separator) = separator else { break };
        start -= separator.len();
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
        for bad in ["", "anonymous", "+1", "12345", "030 901820", "+1234567890123456", "call_1"] {
            assert_eq!(bad.parse::<PhoneNumber>(), Err(InvalidPhoneNumber), "{bad}");
        }
    }
}
