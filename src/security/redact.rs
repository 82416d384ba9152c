//! What may be shown of data that belongs to a caller.

/// Shows the country code and the last two digits of a phone number: `+12•••43`.
///
/// Anything too short to hide is hidden whole; text that is no number (`anonymous`) stays as it is.
#[must_use]
pub fn phone(number: &str) -> String {
    if number.contains('@') || number.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sip:")) {
        return "•••".to_owned();
    }
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 {
        return number.chars().take(32).collect();
    }
    if digits < 7 || !number.is_ascii() {
        return "•••".to_owned();
    }
    let (head, tail) = (&number[..number.len().min(3)], &number[number.len() - 2..]);
    format!("{head}•••{tail}")
}

#[cfg(test)]
mod tests {
    use super::phone;

    #[test]
    fn hides_the_middle() {
        assert_eq!(phone("+12025550143"), "+12•••43");
        assert_eq!(phone("anonymous"), "anonymous");
        assert_eq!(phone("12345"), "•••");
        assert_eq!(phone("SIP:john.doe@example.com"), "•••");
        assert_eq!(phone("sip:4915112345678@example.com"), "•••");
    }
}
