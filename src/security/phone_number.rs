//! A phone number in text of any kind, however it is spelled: in E.164, with digits only, grouped by blanks, dashes or
//! brackets, without its country code, and with its characters escaped as in JSON or a URL.

use std::fmt;

/// Fewer digits are found in numbers of all kinds.
const MIN_DIGITS: usize = 7;
const MAX_DIGITS: usize = 15;
/// Characters between two digits of one number, each of which may be escaped.
const MAX_SEPARATORS: usize = 3;
/// The country codes that are not three digits long.
const ONE_DIGIT_COUNTRY_CODES: [&str; 2] = ["1", "7"];
const TWO_DIGIT_COUNTRY_CODES: [&str; 44] = [
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48", "49", "51",
    "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81", "82", "84", "86", "90",
    "91", "92", "93", "94", "95", "98",
];
/// What stands between the digits of a number, as bytes: plain, in UTF-8, as JSON and URLs escape it.
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

/// What providers send in place of a number that is withheld, in words and as a keypad spells them.
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

/// Whether this stands in place of a caller's number: those who call with it are not one person.
#[must_use]
pub(crate) fn is_withheld(text: &str) -> bool {
    let user = text.trim();
    let user = user.strip_prefix("sip:").map_or(user, |address| address.split('@').next().unwrap_or_default());
    user.is_empty() || WITHHELD_MARKERS.iter().any(|word| user.eq_ignore_ascii_case(word))
}

/// A number to look for. It is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PhoneNumber {
    /// With the country code.
    digits: Vec<u8>,
    /// How many of them are the country code.
    country_code_length: usize,
}

/// Text that is no phone number in international form. Says nothing of the text.
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
    /// Whether the number is anywhere in `text`.
    #[must_use]
    pub(crate) fn occurs_in(&self, text: &[u8]) -> bool {
        let national = &self.digits[self.country_code_length..];
        let first = [self.digits[0], national[0]];
        text.iter().enumerate().any(|(at, byte)| {
            first.contains(byte)
                && (self.matches_at(text, at, &self.digits) && number_can_start_at(text, at)
                    || national.len() >= MIN_DIGITS
                        && self.matches_at(text, at, national)
                        && self.national_number_can_start_at(text, at))
        })
    }

    /// Whether these digits are at `at`, and no further digit follows.
    #[allow(clippy::unused_self, reason = "reads as a question to the number")]
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

    /// Without the country code: alone, behind the zero that is dialled within a country, or behind this country's code;
    /// not behind the code of another.
    fn national_number_can_start_at(&self, text: &[u8], at: usize) -> bool {
        let Some((start, before)) = preceding_digits(text, at) else { return false };
        match before {
            [] => true,
            b"0" => self.national_number_can_start_at(text, start),
            code if *code == self.digits[..self.country_code_length] => true,
            _ => start + before.len() < at && !ends_with_plus(&text[..start]),
        }
    }
}

/// Behind up to three separators.
fn skip_separators(text: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..MAX_SEPARATORS {
        if text.get(at)?.is_ascii_digit() {
            break;
        }
        at += SEPARATORS.iter().find(|separator| text[at..].starts_with(separator))?.len();
    }
    Some(at)
}

/// Whether a number may begin here: no digit in front, but for those of an escape (`%20`) and of the prefix for calls abroad.
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

/// Whether the last characters are an escape that ends in a digit.
fn ends_with_escape(text: &[u8]) -> bool {
    let hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    matches!(text, [.., b'%', one, two] if hex(&[*one, *two]))
        || matches!(text, [.., b'\\', b'u', a, b, c, d] if hex(&[*a, *b, *c, *d]))
}

/// The digits right in front, over up to three separators: where they begin, and which they are. `None` when it is more
/// than a country code may have.
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
            // Another number in front, and something between them: this one begins here.
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
        f.write_str("Number(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> PhoneNumber {
        text.parse().unwrap()
    }

    #[test]
    fn every_usual_spelling_is_found() {
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
    fn other_numbers_are_not() {
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
    fn a_number_that_is_withheld_is_none() {
        for text in ["", " ", "anonymous", "Anonymous", "Restricted ", "+266696687", "sip:anonymous@anonymous.invalid"]
        {
            assert!(is_withheld(text), "{text}");
        }
        for text in ["+12025550143", "sip:12025550143@example.com", "sip:ada@example.com", "+7 378 742 83 35"] {
            assert!(!is_withheld(text), "{text}");
        }
    }

    #[test]
    fn numbers_of_other_countries() {
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
