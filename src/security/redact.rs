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

/// A URL without its password: `postgres://user:***@host/name`. Other texts as they are.
#[must_use]
pub fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // The last @ ends what comes before the host; one in a password need not be escaped to be meant.
    let Some((user, _)) = authority.rsplit_once('@').and_then(|(info, _)| info.split_once(':')) else {
        return text.to_owned();
    };
    let host = &rest[authority.rfind('@').unwrap_or_default()..];
    format!("{scheme}://{user}:***{host}")
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

    #[test]
    fn passwords_in_urls_are_hidden() {
        assert_eq!(super::url("postgres://me:s3cr3t@db:5432/x?y=a@b"), "postgres://me:***@db:5432/x?y=a@b");
        assert_eq!(super::url("https://me:a@b@host"), "https://me:***@host");
        for plain in ["https://example.com/a:b@c", "sqlite://data/x.db", "info", "https://me@host"] {
            assert_eq!(super::url(plain), plain);
        }
    }
}
