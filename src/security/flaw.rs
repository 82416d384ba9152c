//! What is wrong with the form of a signature header.

use std::fmt;

/// What is wrong with the form of a signature header. Nothing of the header itself is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is there more than once, or holds bytes that are no text.
    Repeated,
    /// It is empty.
    Empty,
    /// White space or quotes in or around it.
    Padded,
    /// `V=`, `D=` or upper-case hex digits.
    UpperCase,
    /// `d` before `v`.
    Swapped,
    /// It has the form of another scheme: Standard Webhooks, Stripe, GitHub.
    OtherScheme,
    /// A digest without a time.
    DigestOnly,
    /// The digest is in base64.
    Base64,
    /// The digest has so many hex digits instead of 64.
    Length(usize),
    /// The time is not a plain number of milliseconds.
    Time,
    /// None of these.
    Other,
}

const WHITE: [char; 5] = [' ', '\t', '"', '\'', '\u{a0}'];

impl Flaw {
    /// What is wrong with `header`, which was found to be malformed.
    pub(super) fn of(header: &str) -> Self {
        if header.chars().all(|c| WHITE.contains(&c)) {
            return Self::Empty;
        }
        if header.contains(WHITE) {
            let bare = header.replace(WHITE, "");
            // Padding is the whole trouble only when what is left has the form.
            return if has_form(&bare) { Self::Padded } else { Self::of(&bare) };
        }
        if header.bytes().any(|b| b.is_ascii_uppercase()) && has_form(&header.to_ascii_lowercase()) {
            return Self::UpperCase;
        }
        let parts = header.split_once(',').and_then(|(first, second)| {
            let time = first.strip_prefix("v=")?;
            Some((time, second.strip_prefix("d=")?))
        });
        match parts {
            Some((time, digest)) => of_parts(time, digest),
            None => of_other(header),
        }
    }
}

fn has_form(header: &str) -> bool {
    let parts = header.strip_prefix("v=").and_then(|rest| rest.split_once(",d="));
    parts.is_some_and(|(time, digest)| is_digits(time) && digest.len() == 64 && is_hex(digest))
}

fn of_parts(time: &str, digest: &str) -> Flaw {
    if !is_hex(digest) {
        let base64 = digest.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b));
        return if base64 && matches!(digest.trim_end_matches('=').len(), 42..=43) {
            Flaw::Base64
        } else {
            Flaw::Other
        };
    }
    if digest.len() != 64 {
        return Flaw::Length(digest.len());
    }
    if !is_digits(time) || time.len() > 19 || time.starts_with('0') { Flaw::Time } else { Flaw::Other }
}

fn of_other(header: &str) -> Flaw {
    let lower = header.to_ascii_lowercase();
    let swapped = lower.split_once(",v=").is_some_and(|(first, _)| first.starts_with("d="));
    let bare = lower.strip_prefix("d=").unwrap_or(&lower);
    if swapped {
        Flaw::Swapped
    } else if ["v1,", "v1a,", "t=", "sha256=", "sha1="].iter().any(|scheme| lower.starts_with(scheme)) {
        Flaw::OtherScheme
    } else if bare.len() == 64 && is_hex(bare) {
        Flaw::DigestOnly
    } else {
        Flaw::Other
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "its digest has {length} hex digits instead of 64")?,
            other => f.write_str(other.fixed_text())?,
        }
        f.write_str("; expected v=<unix ms>,d=<64 lower-case hex digits>, once, as `retell-webhook sign` prints it")
    }
}

impl Flaw {
    fn fixed_text(self) -> &'static str {
        match self {
            Self::Repeated => {
                "it is there twice, or is no ASCII text; look for a proxy that copies or rewrites headers"
            }
            Self::Empty => "it is empty; look for a variable that was not filled in",
            Self::Padded => "there are blanks or quotes in or around it; send the bare value",
            Self::UpperCase => "it has upper-case letters; write labels and hex digits in lower case",
            Self::Swapped => "its parts are swapped; put `v` before `d`",
            Self::OtherScheme => "it has the form of another service's signature (Standard Webhooks, Stripe, GitHub)",
            Self::DigestOnly => "it holds a digest without a time",
            Self::Base64 => "its digest is in base64 instead of hex",
            Self::Time => "its time is no plain number of milliseconds",
            Self::Length(_) | Self::Other => "it has another form",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaws_are_told_apart() {
        let hex = "0123456789abcdef".repeat(4);
        let table = [
            (String::new(), Flaw::Empty),
            ("  ".into(), Flaw::Empty),
            (format!("v=1790000000000, d={hex}"), Flaw::Padded),
            (format!("\"v=1790000000000,d={hex}\""), Flaw::Padded),
            (format!("v=1790000000000,d={}", hex.to_uppercase()), Flaw::UpperCase),
            (format!("V=1790000000000,D={hex}"), Flaw::UpperCase),
            (format!("d={hex},v=1790000000000"), Flaw::Swapped),
            (format!("d={hex}, v=1790000000000"), Flaw::Swapped),
            (format!("v=1790000000000,d={}", &hex[1..]), Flaw::Length(63)),
            ("v=1790000000000,d=".into(), Flaw::Length(0)),
            (format!("v=01790000000000,d={hex}"), Flaw::Time),
            (format!("v=2026-11-21,d={hex}"), Flaw::Time),
            (format!("v=,d={hex}"), Flaw::Time),
            ("v=1790000000000,d=K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=".into(), Flaw::Base64),
            ("v1,K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=".into(), Flaw::OtherScheme),
            (format!("t=1790000000,v1={hex}"), Flaw::OtherScheme),
            (format!("sha256={hex}"), Flaw::OtherScheme),
            (hex.clone(), Flaw::DigestOnly),
            (format!("d={hex}"), Flaw::DigestOnly),
            ("nonsense".into(), Flaw::Other),
            ("v=1,d=nonsense".into(), Flaw::Other),
        ];
        for (header, flaw) in table {
            assert_eq!(Flaw::of(&header), flaw, "{header}");
            assert!(!flaw.to_string().contains(&hex[..8]));
        }
    }
}
