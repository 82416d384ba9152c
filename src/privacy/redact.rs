//! Redaction of personal data and secrets for logs and the command line.

/// Shows the country code and the last two digits of a phone number: `+12•••43`.
///
/// A number that is too short to be masked is hidden completely. A text without digits (`anonymous`) is not changed.
#[must_use]
pub(crate) fn phone(number: &str) -> String {
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

/// Shows the form of a signature header: `v=1790000000000,d=9f27…`. Of every other part only the length is shown.
#[must_use]
pub(crate) fn signature(header: &str) -> String {
    let shown = header.splitn(8, ',').take(2).map(|part| match part.trim().split_once('=') {
        Some(("v", time)) if time.len() <= 19 && time.bytes().all(|b| b.is_ascii_digit()) => format!("v={time}"),
        Some((label @ ("d" | "D"), digest)) if digest.len() >= 16 && digest.bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("{label}={}…", &digest[..4])
        }
        _ => format!("({} bytes)", part.len()),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// Shows a path without possible phone numbers: runs of five or more digits are hidden. At most 256 bytes.
#[must_use]
pub(crate) fn path(path: &str) -> String {
    let mut shown = String::new();
    for piece in path[..path.floor_char_boundary(256)].split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        if digits >= 5 {
            shown.push_str("•••");
            shown.push_str(&piece[digits..]);
        } else {
            shown.push_str(piece);
        }
    }
    shown
}

/// Shows a URL without its password: `postgres://user:***@host/name`. Other texts are not changed.
#[must_use]
pub(crate) fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // The last `@` precedes the host: users often do not escape an `@` in a password.
    let Some((user, _)) = authority.rsplit_once('@').and_then(|(info, _)| info.split_once(':')) else {
        return text.to_owned();
    };
    let host = &rest[authority.rfind('@').unwrap_or_default()..];
    format!("{scheme}://{user}:***{host}")
}

/// Shows a text from another system, such as a response body, without possible phone numbers (seven or more digits in
/// any grouping) and secrets (20 or more characters without a gap that include a digit).
#[must_use]
pub(crate) fn text(text: &str) -> String {
    let in_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '(' | ')' | '.' | ' ' | '/');
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '/' | '=' | '~');
    let digits = |piece: &str| piece.bytes().filter(u8::is_ascii_digit).count();
    let numbers = mask_runs(text, in_number, |piece| digits(piece) >= 7);
    mask_runs(&numbers, in_word, |piece| piece.len() >= 20 && digits(piece) > 0)
}

/// Masks every maximal run of characters that satisfy `belongs` if `is_hidden` returns true for it. Spaces around the
/// run are kept.
fn mask_runs(text: &str, belongs: impl Fn(char) -> bool, is_hidden: impl Fn(&str) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(&belongs) {
        let (before, from) = rest.split_at(start);
        let (run, after) = from.split_at(from.find(|c| !belongs(c)).unwrap_or(from.len()));
        shown.push_str(before);
        if is_hidden(run) {
            let inner = run.trim_matches(' ');
            let left = run.len() - run.trim_start_matches(' ').len();
            shown.push_str(&run[..left]);
            shown.push_str("•••");
            shown.push_str(&run[left + inner.len()..]);
        } else {
            shown.push_str(run);
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::{path, phone, signature, text};

    #[test]
    fn texts_are_shown_without_phone_numbers_and_secrets() {
        for (original, shown) in [
            ("call back +1 (202) 555-0143 today", "call back ••• today"),
            ("no such contact: 4915112345678.", "no such contact: •••"),
            ("retry in 30 s, HTTP 503", "retry in 30 s, HTTP 503"),
            ("bad token key_9f27a1c4de5588b2031fa7c0!", "bad token •••!"),
            ("{\"id\":\"wh_2hx9TzUq0bqkPb7WTs8RkCxZ3\"}", "{\"id\":\"•••\"}"),
            ("äöü ok", "äöü ok"),
            ("", ""),
        ] {
            assert_eq!(text(original), shown);
        }
    }

    #[test]
    fn phone_numbers_are_masked() {
        assert_eq!(phone("+12025550143"), "+12•••43");
        assert_eq!(phone("anonymous"), "anonymous");
        assert_eq!(phone("12345"), "•••");
        assert_eq!(phone("SIP:john.doe@example.com"), "•••");
        assert_eq!(phone("sip:4915112345678@example.com"), "•••");
    }

    #[test]
    fn only_the_form_of_a_signature_is_shown() {
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(signature(&format!("v=1790000000000,d={hex}")), "v=1790000000000,d=0123…");
        assert_eq!(signature(&format!("d={hex}, v=17")), "d=0123…,v=17");
        assert_eq!(signature("my card ends in four two"), "(24 bytes)");
        assert_eq!(signature("v1,K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols="), "(2 bytes),(44 bytes)");
        assert_eq!(signature("v=1,d=é"), "v=1,(4 bytes)");
        assert_eq!(signature(""), "(0 bytes)");
    }

    #[test]
    fn paths_are_shown_without_phone_numbers() {
        assert_eq!(path("/hook/%2B12025550143/v2"), "/hook/%2B•••/v2");
        assert_eq!(path("/12025550143"), "/•••");
        assert_eq!(path("/api/v1/webhook/retell"), "/api/v1/webhook/retell");
        assert_eq!(path(&"é".repeat(200)).len(), 256);
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
