//! One spelling for each phone number, so that numbers can be compared: `+49 (0)30 123-456` is `+4930123456`.
//!
//! Rules, number files, erasure and the history of callers use it for both sides of a comparison. What carriers send
//! instead of a number keeps its text: a short code, a SIP user, or a word such as `anonymous`.

use super::phone_number::is_withheld_word;
use crate::base::escape::is_deceptive;

/// Fewer digits would match too many numbers that are not phone numbers.
pub(super) const MIN_DIGITS: usize = 7;
/// The limit that E.164 sets for a number with its country code.
pub(super) const MAX_DIGITS: usize = 15;
const SHORT_CODE_DIGITS: std::ops::RangeInclusive<usize> = 3..=6;
/// Countries where a zero after the country code is a part of the number.
const COUNTRIES_WITHOUT_TRUNK_PREFIX: [&str; 4] = ["39", "378", "225", "242"];
const QUOTES: &str = "\"'`<>‘’‚“”„«»‹›";
/// Characters that people write between the digits of a number.
const SEPARATORS: &str = " -./()[]";

/// Why a text is not a number that a call can have. The message does not quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnreadableNumber {
    #[error("it is empty")]
    Empty,
    #[error("it has no country code; write the number with + and its country code, such as +4930123456")]
    NoCountryCode,
    #[error("it has {0} digits; expected + and 7 to 15 digits, such as +4930123456")]
    DigitCount(usize),
    #[error("no country code begins with 0; expected a number such as +4930123456")]
    LeadingZero,
    #[error("it has the character U+{:04X}, which no phone number has; expected + and 7 to 15 digits", u32::from(*.0))]
    Character(char),
    #[error("it is not a SIP user; expected one such as sip:reception@example.com")]
    SipUser,
}

/// A number or the beginning of numbers, in the spelling that is compared.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NumberPattern {
    Exact(String),
    Prefix(String),
}

/// The spelling of a number that is compared with others. A text that is not a number keeps its characters, in lower
/// case.
#[must_use]
pub(crate) fn normalize(text: &str) -> String {
    normalize_and_check(text).0
}

/// The spelling that is compared, for a text that a call can have as its number: + and 7 to 15 digits, a short code, a
/// SIP user, or a word for a withheld number.
///
/// # Errors
/// Why no call can have this number. A national number is refused, because its country is unknown.
pub(crate) fn parse(text: &str) -> Result<String, UnreadableNumber> {
    let (normalized, check) = normalize_and_check(text);
    check.map(|()| normalized)
}

/// The number in E.164, `+4930123456`; the unchanged text if it is not a number with its country code.
#[must_use]
pub(crate) fn to_e164(text: &str) -> String {
    parse(text).ok().filter(|number| e164_digits(number).is_some()).unwrap_or_else(|| text.to_owned())
}

/// The digits of a parsed number; `None` for a short code, a SIP user or a word.
pub(super) fn e164_digits(parsed: &str) -> Option<&str> {
    parsed.strip_prefix('+').filter(|digits| !digits.contains('@'))
}

/// Parses a number, or the beginning of numbers followed by `*`: `+4930*`.
///
/// # Errors
/// As for [`parse`]. A prefix begins with `+` as well.
pub(crate) fn parse_pattern(text: &str) -> Result<NumberPattern, UnreadableNumber> {
    let ascii = to_ascii(text);
    let Some(prefix) = ascii.strip_suffix('*') else { return parse(&ascii).map(NumberPattern::Exact) };
    if let Some(other) = find_other_character(prefix) {
        return Err(UnreadableNumber::Character(other));
    }
    let compact = compact_number(prefix);
    match compact.strip_prefix('+') {
        None => Err(UnreadableNumber::NoCountryCode),
        Some(digits) if digits.contains('+') => Err(UnreadableNumber::Character('+')),
        Some(digits) if digits.starts_with('0') => Err(UnreadableNumber::LeadingZero),
        Some(digits) if digits.len() > MAX_DIGITS => Err(UnreadableNumber::DigitCount(digits.len())),
        Some(_) => Ok(NumberPattern::Prefix(compact)),
    }
}

/// The text without blanks, quotes and invisible characters around it, which come from copying.
pub(crate) fn trim_copied(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_deceptive(c) || QUOTES.contains(c))
}

fn normalize_and_check(text: &str) -> (String, Result<(), UnreadableNumber>) {
    let text = to_ascii(text).to_lowercase();
    if let Some(user) = text.strip_prefix("sips:").or_else(|| text.strip_prefix("sip:")) {
        return check_sip_user(user);
    }
    let number = text.strip_prefix("tel:").map(decode_tel_uri).unwrap_or(text);
    if number.contains('@') {
        return check_sip_user(&number);
    }
    if is_withheld_word(&number) {
        return (number, Ok(()));
    }
    if let Some(other) = find_other_character(&number) {
        return (number, Err(UnreadableNumber::Character(other)));
    }
    let compact = compact_number(&number);
    let check = check_digits(&compact);
    (compact, check)
}

fn check_sip_user(uri: &str) -> (String, Result<(), UnreadableNumber>) {
    let address = uri.split([';', '?']).next().unwrap_or_default().trim().to_owned();
    let is_blank = |part: &str| part.is_empty() || part.contains(char::is_whitespace);
    let is_user = address.split('@').count() <= 2 && !address.split('@').any(is_blank);
    (address, if is_user { Ok(()) } else { Err(UnreadableNumber::SipUser) })
}

fn check_digits(number: &str) -> Result<(), UnreadableNumber> {
    let Some(digits) = number.strip_prefix('+') else {
        let is_short_code = SHORT_CODE_DIGITS.contains(&number.len()) && !number.starts_with('0');
        return match number {
            "" => Err(UnreadableNumber::Empty),
            _ if is_short_code => Ok(()),
            _ => Err(UnreadableNumber::NoCountryCode),
        };
    };
    if digits.contains('+') {
        return Err(UnreadableNumber::Character('+'));
    }
    if digits.starts_with('0') {
        return Err(UnreadableNumber::LeadingZero);
    }
    let is_number = (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len());
    if is_number { Ok(()) } else { Err(UnreadableNumber::DigitCount(digits.len())) }
}

/// The first character that is neither a digit nor a separator.
fn find_other_character(text: &str) -> Option<char> {
    text.chars().find(|c| !c.is_ascii_digit() && *c != '+' && !SEPARATORS.contains(*c))
}

/// Whether people write the character between the digits of a number, or copy it unseen.
pub(super) fn is_separator(c: char) -> bool {
    let is_invisible = !c.is_ascii() && is_deceptive(c);
    is_invisible || c == '+' || (!c.is_ascii_control() && SEPARATORS.contains(ascii_character(c)))
}

/// Digits with `+` for the international prefix `00`, and without the trunk prefix in `(0)30` and `(030)`.
fn compact_number(text: &str) -> String {
    let is_bracket = |c: char| "()".contains(c);
    let text = text.replace('[', "(").replace(']', ")");
    let text: String = text.chars().filter(|c| is_bracket(*c) || !SEPARATORS.contains(*c)).collect();
    let text = text.trim_start_matches(is_bracket);
    let international = match text.strip_prefix("00") {
        Some(number) if number.starts_with(|c: char| matches!(c, '1'..='9')) => format!("+{number}"),
        _ => text.to_owned(),
    };
    let without_trunk_prefix = match international.strip_prefix('+').and_then(|number| number.split_once("(0")) {
        Some((country, rest)) if !COUNTRIES_WITHOUT_TRUNK_PREFIX.contains(&country.trim_matches(is_bracket)) => {
            format!("+{country}{rest}")
        }
        _ => international,
    };
    without_trunk_prefix.chars().filter(|c| !is_bracket(*c)).collect()
}

/// The number of a `tel:` URI without its parameters.
fn decode_tel_uri(uri: &str) -> String {
    let number = uri.split([';', '?']).next().unwrap_or_default().trim_start_matches('/');
    [("%2b", "+"), ("%20", " "), ("%2d", "-"), ("%28", "("), ("%29", ")")]
        .iter()
        .fold(number.to_owned(), |number, (escape, character)| number.replace(escape, character))
}

/// The text in the characters that a keyboard has, without invisible characters, and without quotes and list separators
/// around it.
fn to_ascii(text: &str) -> String {
    let visible = text.chars().filter(|c| c.is_whitespace() || !is_deceptive(*c));
    let ascii: String = visible.map(ascii_character).collect();
    ascii.trim_matches(|c: char| c.is_whitespace() || ",;".contains(c) || QUOTES.contains(c)).to_owned()
}

fn ascii_character(c: char) -> char {
    match c {
        _ if c.is_whitespace() => ' ',
        '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{30fc}' | '\u{fe58}' | '\u{fe63}' => '-',
        '\u{b7}' | '\u{2022}' | '\u{2024}' | '\u{2027}' | '\u{30fb}' => '.',
        '\u{2044}' | '\u{2215}' => '/',
        '\u{207a}' | '\u{fe62}' => '+',
        // Full-width forms.
        '\u{ff01}'..='\u{ff5e}' => shift(c, '\u{ff01}', '!'),
        // Arabic digits in both forms.
        '\u{660}'..='\u{669}' => shift(c, '\u{660}', '0'),
        '\u{6f0}'..='\u{6f9}' => shift(c, '\u{6f0}', '0'),
        c => c,
    }
}

/// The character at the same distance from `to` as `c` has from `from`.
fn shift(c: char, from: char, to: char) -> char {
    char::from_u32(u32::from(c) - u32::from(from) + u32::from(to)).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_number_are_one() {
        for text in [
            "+4930123456",
            "+49 30 123456",
            "+49 (0)30 123-456",
            "+49 ( 0 ) 30 123456",
            "(+49) 30/123456",
            "+49.30.123.456",
            "+49 [30] 123456",
            "+49 (030) 123456",
            "+49 [030] 123456",
            "0049 30 123456",
            "0049 (0)30 123456",
            "(0049)30 123456",
            "\u{2068}+4930123456\u{2069}",
            "\u{202a}+49\u{ad}30\u{200b}123456\u{202c}",
            "\u{feff}+4930123456\r\n",
            "+49\u{a0}30\u{202f}123\u{2009}456",
            "+49\u{2011}30\u{2212}123\u{fe58}456\u{2010}",
            "\u{ff0b}\u{ff14}\u{ff19}\u{ff13}\u{ff10}123456",
            "+\u{664}\u{669}30123456",
            "tel:+49-30-123456",
            "TEL:+4930123456;ext=5;phone-context=example.com",
            "tel:%2B49%2030%20123456",
            "\"+4930123456\"",
            "'+49 30 123456',",
            "\u{201e}+49 30 123456\u{201c}",
            "<tel:+4930123456>",
        ] {
            assert_eq!(parse(text).as_deref(), Ok("+4930123456"), "{text:?}");
        }
        assert_eq!(parse("+1 (202) 555-0143").as_deref(), Ok("+12025550143"));
        assert_eq!(parse("+39 (0)6 1234567").as_deref(), Ok("+3906 1234567".replace(' ', "").as_str()));
    }

    #[test]
    fn what_replaces_a_number_is_kept() {
        for (text, kept) in [
            ("Anonymous", "anonymous"),
            (" \"restricted\" ", "restricted"),
            ("72727", "72727"),
            ("112", "112"),
            ("sip:Ada@example.com;transport=tls", "ada@example.com"),
            ("<sips:ada@example.com>", "ada@example.com"),
            ("ada@example.com", "ada@example.com"),
            ("sip:4930123456", "4930123456"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(kept), "{text:?}");
        }
        assert_eq!([normalize("4930123456"), normalize("Reception 1")], ["4930123456", "reception 1"]);
        let unchanged = ["4930123456", "sip:+4930123456@example.com", "Anonymous"];
        assert_eq!(unchanged.map(to_e164), unchanged);
        assert_eq!(to_e164("0049 30 123456"), "+4930123456");
    }

    #[test]
    fn numbers_that_no_call_has_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", UnreadableNumber::Empty),
            ("\u{feff} \u{2068}", UnreadableNumber::Empty),
            ("030 123456", UnreadableNumber::NoCountryCode),
            ("2025550143", UnreadableNumber::NoCountryCode),
            ("tel:030-123456;phone-context=+49", UnreadableNumber::NoCountryCode),
            ("0", UnreadableNumber::NoCountryCode),
            ("12", UnreadableNumber::NoCountryCode),
            ("+", UnreadableNumber::DigitCount(0)),
            ("+49 30", UnreadableNumber::DigitCount(4)),
            ("+1234567890123456", UnreadableNumber::DigitCount(16)),
            ("+049 30 123456", UnreadableNumber::LeadingZero),
            ("+0049 30 123456", UnreadableNumber::LeadingZero),
            ("++49 30 123456", UnreadableNumber::Character('+')),
            ("+49 30 123456 ext 5", UnreadableNumber::Character('e')),
            ("+4930123456;Ana", UnreadableNumber::Character(';')),
            ("anonymus", UnreadableNumber::Character('a')),
            ("+49*30", UnreadableNumber::Character('*')),
            ("sip:", UnreadableNumber::SipUser),
            ("sip:ada lovelace@example.com", UnreadableNumber::SipUser),
            ("ada@", UnreadableNumber::SipUser),
        ] {
            assert_eq!(parse(text), Err(reason), "{text:?}");
        }
        assert!(!UnreadableNumber::Character('\u{1f4de}').to_string().contains('\u{1f4de}'));
    }

    #[test]
    fn a_prefix_begins_with_a_plus_sign() {
        for (text, prefix) in [
            ("+4930*", "+4930"),
            ("0049 (0)30 *", "+4930"),
            ("\"+1\u{a0}202*\"", "+1202"),
            ("+*", "+"),
            ("+49＊", "+49"),
        ] {
            assert_eq!(parse_pattern(text), Ok(NumberPattern::Prefix(prefix.to_owned())), "{text}");
        }
        assert_eq!(parse_pattern("+49 30 123456"), Ok(NumberPattern::Exact("+4930123456".to_owned())));
        for (text, reason) in [
            ("*", UnreadableNumber::NoCountryCode),
            ("030*", UnreadableNumber::NoCountryCode),
            ("49*", UnreadableNumber::NoCountryCode),
            ("+049*", UnreadableNumber::LeadingZero),
            ("+49**", UnreadableNumber::Character('*')),
            ("++49*", UnreadableNumber::Character('+')),
            ("+49+30*", UnreadableNumber::Character('+')),
            ("anon*", UnreadableNumber::Character('a')),
        ] {
            assert_eq!(parse_pattern(text), Err(reason), "{text}");
        }
    }
}
