//! Classifies signature headers that do not have Retell's form.

use std::fmt;

/// What is wrong with the form of a signature header. It holds nothing of the header itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MalformedHeaderReason {
    /// The header is present more than once, or contains bytes that are not ASCII text.
    Repeated,
    Empty,
    /// There is whitespace or there are quotes in or around the value.
    WhitespaceOrQuotes,
    /// The value has `V=`, `D=` or upper-case hex digits.
    UpperCase,
    /// The value has `d` before `v`.
    FieldsSwapped,
    /// The value has the form of another scheme: Standard Webhooks, Stripe or GitHub.
    OtherScheme,
    /// The value is a digest without a timestamp.
    DigestOnly,
    /// The digest is in base64 instead of hex.
    Base64Digest,
    /// The digest has this number of hex digits instead of 64.
    DigestLength(usize),
    /// The timestamp is not a plain number of milliseconds.
    InvalidTimestamp,
    Other,
}

const WHITESPACE_AND_QUOTES: [char; 5] = [' ', '\t', '"', '\'', '\u{a0}'];

impl MalformedHeaderReason {
    /// Finds out what is wrong with `header`, which could not be parsed as a signature.
    pub(super) fn classify(header: &str) -> Self {
        if header.chars().all(|c| WHITESPACE_AND_QUOTES.contains(&c)) {
            return Self::Empty;
        }
        if header.contains(WHITESPACE_AND_QUOTES) {
            let bare = header.replace(WHITESPACE_AND_QUOTES, "");
            // Whitespace is the cause only when the rest is well-formed; otherwise the rest has a defect of greater
            // weight.
            return if is_well_formed(&bare) { Self::WhitespaceOrQuotes } else { Self::classify(&bare) };
        }
        if header.bytes().any(|b| b.is_ascii_uppercase()) && is_well_formed(&header.to_ascii_lowercase()) {
            return Self::UpperCase;
        }
        let parts = header.split_once(',').and_then(|(first, second)| {
            let time = first.strip_prefix("v=")?;
            Some((time, second.strip_prefix("d=")?))
        });
        match parts {
            Some((time, digest)) => classify_fields(time, digest),
            None => classify_unknown_format(header),
        }
    }
}

fn is_well_formed(header: &str) -> bool {
    let parts = header.strip_prefix("v=").and_then(|rest| rest.split_once(",d="));
    parts.is_some_and(|(time, digest)| is_digits(time) && digest.len() == 64 && is_hex(digest))
}

fn classify_fields(time: &str, digest: &str) -> MalformedHeaderReason {
    if !is_hex(digest) {
        let is_base64 = digest.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b));
        // 32 bytes are 43 base64 characters without padding.
        return if is_base64 && matches!(digest.trim_end_matches('=').len(), 42..=43) {
            MalformedHeaderReason::Base64Digest
        } else {
            MalformedHeaderReason::Other
        };
    }
    if digest.len() != 64 {
        return MalformedHeaderReason::DigestLength(digest.len());
    }
    if !is_digits(time) || time.len() > 19 || time.starts_with('0') {
        MalformedHeaderReason::InvalidTimestamp
    } else {
        MalformedHeaderReason::Other
    }
}

fn classify_unknown_format(header: &str) -> MalformedHeaderReason {
    let lower = header.to_ascii_lowercase();
    let is_swapped = lower.split_once(",v=").is_some_and(|(first, _)| first.starts_with("d="));
    let bare = lower.strip_prefix("d=").unwrap_or(&lower);
    if is_swapped {
        MalformedHeaderReason::FieldsSwapped
    } else if ["v1,", "v1a,", "t=", "sha256=", "sha1="].iter().any(|scheme| lower.starts_with(scheme)) {
        MalformedHeaderReason::OtherScheme
    } else if bare.len() == 64 && is_hex(bare) {
        MalformedHeaderReason::DigestOnly
    } else {
        MalformedHeaderReason::Other
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

impl fmt::Display for MalformedHeaderReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DigestLength(length) => write!(f, "its digest has {length} hex digits instead of 64")?,
            other => f.write_str(other.fixed_text())?,
        }
        f.write_str("; expected v=<unix ms>,d=<64 lower-case hex digits>, once")
    }
}

impl MalformedHeaderReason {
    fn fixed_text(self) -> &'static str {
        match self {
            Self::Repeated => {
                "it is present more than once, or is not ASCII text; look for a proxy that copies or rewrites headers"
            }
            Self::Empty => "it is empty; look for a variable that is not set",
            Self::WhitespaceOrQuotes => "there are spaces or quotes in or around the value; send the bare value",
            Self::UpperCase => "it has upper-case letters; send labels and hex digits in lower case",
            Self::FieldsSwapped => "its parts are in the wrong order; put `v` before `d`",
            Self::OtherScheme => "it has the form of another service's signature (Standard Webhooks, Stripe, GitHub)",
            Self::DigestOnly => "it is a digest without a timestamp",
            Self::Base64Digest => "its digest is in base64 instead of hex",
            Self::InvalidTimestamp => "its timestamp is not a plain number of milliseconds",
            Self::DigestLength(_) | Self::Other => "its form is not known",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_headers_are_classified() {
        let hex = "0123456789abcdef".repeat(4);
        let table = [
            (String::new(), MalformedHeaderReason::Empty),
            ("  ".into(), MalformedHeaderReason::Empty),
            (format!("v=1790000000000, d={hex}"), MalformedHeaderReason::WhitespaceOrQuotes),
            (format!("\"v=1790000000000,d={hex}\""), MalformedHeaderReason::WhitespaceOrQuotes),
            (format!("v=1790000000000,d={}", hex.to_uppercase()), MalformedHeaderReason::UpperCase),
            (format!("V=1790000000000,D={hex}"), MalformedHeaderReason::UpperCase),
            (format!("d={hex},v=1790000000000"), MalformedHeaderReason::FieldsSwapped),
            (format!("d={hex}, v=1790000000000"), MalformedHeaderReason::FieldsSwapped),
            (format!("v=1790000000000,d={}", &hex[1..]), MalformedHeaderReason::DigestLength(63)),
            ("v=1790000000000,d=".into(), MalformedHeaderReason::DigestLength(0)),
            (format!("v=01790000000000,d={hex}"), MalformedHeaderReason::InvalidTimestamp),
            (format!("v=2026-11-21,d={hex}"), MalformedHeaderReason::InvalidTimestamp),
            (format!("v=,d={hex}"), MalformedHeaderReason::InvalidTimestamp),
            (
                "v=1790000000000,d=K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=".into(),
                MalformedHeaderReason::Base64Digest,
            ),
            ("v1,K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=".into(), MalformedHeaderReason::OtherScheme),
            (format!("t=1790000000,v1={hex}"), MalformedHeaderReason::OtherScheme),
            (format!("sha256={hex}"), MalformedHeaderReason::OtherScheme),
            (hex.clone(), MalformedHeaderReason::DigestOnly),
            (format!("d={hex}"), MalformedHeaderReason::DigestOnly),
            ("nonsense".into(), MalformedHeaderReason::Other),
            ("v=1,d=nonsense".into(), MalformedHeaderReason::Other),
        ];
        for (header, reason) in table {
            assert_eq!(MalformedHeaderReason::classify(&header), reason, "{header}");
            assert!(!reason.to_string().contains(&hex[..8]));
        }
    }
}
