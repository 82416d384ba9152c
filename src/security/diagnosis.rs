//! The possible causes of a rejected request, with texts for the operator. No text contains a digest, a key or a part
//! of a body.

use std::fmt;
use std::net::IpAddr;

pub(crate) use super::malformed_header::MalformedHeaderReason;

/// A reason why a request was rejected. Its text says what happened and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Diagnosis {
    /// The request has no signature header.
    MissingHeader,
    /// The request has no signature header, but the header of another service, with this name.
    OtherSignatureHeader(&'static str),
    /// The header does not have the form of Retell's signatures.
    MalformedHeader(MalformedHeaderReason),
    /// The signature was made too long ago, or too far in the future.
    Stale {
        /// Current time minus the signature's timestamp, in milliseconds.
        age_ms: i64,
        /// Whether the digest is valid apart from the age.
        digest: DigestCheck,
    },
    /// The timestamp is in seconds instead of milliseconds.
    TimestampInSeconds,
    /// The request was signed with the key of another company, with this slug.
    OtherCompanyKey(String),
    /// The sender signed the body without the timestamp.
    TimestampNotSigned,
    /// The JSON was parsed and serialized again in transit, or before it was signed.
    Reserialized(
        /// The serializer whose output matches the signature.
        JsonSerializerStyle,
    ),
    /// The bytes of the body were changed in another known way.
    BodyChanged(BodyChange),
    /// The body is not compressed although its header says so: a proxy decompressed it in transit.
    BodyDecompressed,
    /// The body is compressed, which Retell does not do.
    BodyCompressed,
    /// The body is declared as a form instead of JSON.
    FormBody,
    /// The body is empty, although a body was expected.
    EmptyBody,
    /// The body has the indentation of several lines and no line breaks. A guess, unlike
    /// [`BodyChange::LineBreaksRemoved`].
    LineBreaksMissing,
    /// The client address is not on `security.allowlist`.
    NotOnAllowlist {
        client_ip: Option<IpAddr>,
        /// The trusted proxy that forwarded the request.
        proxy: Option<IpAddr>,
    },
    /// No key matches, and no known change of the body explains it.
    NoKeyMatched,
}

/// Whether the digest of a stale signature is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DigestCheck {
    /// The body was not read, or is too large for a diagnosis.
    NotChecked,
    /// The digest is valid: only the age is wrong.
    Matches,
    /// The digest is not valid, and the cause is unknown.
    Mismatch,
    /// The digest is not valid; another finding says why.
    ExplainedMismatch,
}

/// The serializer that writes JSON in the way that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonSerializerStyle {
    /// `JSON.stringify`: no whitespace, non-ASCII characters unescaped. This is what Retell sends.
    JavaScript,
    /// `json.dumps`: a space after commas and colons, `\u` escapes.
    Python,
    /// `json.dumps` with `ensure_ascii=False`: a space after commas and colons, no `\u` escapes.
    PythonUnicode,
    /// A serializer that writes no whitespace and `\u` escapes.
    CompactAscii,
}

/// A change of the body in transit. It is certain: with the change undone, the signature is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyChange {
    /// Whitespace was added at the end after signing.
    NewlineAdded,
    /// A newline at the end was removed after signing.
    NewlineRemoved,
    /// Line breaks were removed, or replaced by spaces, after signing.
    LineBreaksRemoved,
    /// A UTF-8 byte order mark was added after signing.
    BomAdded,
    /// A UTF-8 byte order mark was removed after signing.
    BomRemoved,
    /// Line ends were LF when signed and CRLF when received.
    LfToCrlf,
    /// Line ends were CRLF when signed and LF when received.
    CrlfToLf,
    /// Characters were replaced by `\u` escapes after signing.
    Escaped,
    /// `\u` escapes were replaced by characters after signing.
    Unescaped,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingHeader => f.write_str(
                "the X-Retell-Signature header is missing: the request is not from Retell, or a proxy removes the \
                 header; forward the header, or ignore this request",
            ),
            Self::OtherSignatureHeader(name) => write!(
                f,
                "the X-Retell-Signature header is missing, but `{name}` is present: the sender signs for another \
                 service; have it send Retell's header, v=<unix ms>,d=<digest>",
            ),
            Self::MalformedHeader(reason) => write!(f, "the X-Retell-Signature header is malformed: {reason}"),
            Self::Stale { age_ms, digest } => write_stale(f, *age_ms, *digest),
            Self::OtherCompanyKey(slug) => write!(
                f,
                "signed with the key of company `{slug}`: enter the webhook URL of `{slug}` in that Retell account, \
                 or give this one its own key",
            ),
            Self::Reserialized(writer) => {
                write!(f, "the body was re-serialized: the signature matches the body {writer}")
            }
            Self::BodyChanged(change) => write!(f, "the body was changed: {change}"),
            Self::NotOnAllowlist { client_ip, proxy } => write_not_on_allowlist(f, *client_ip, *proxy),
            other => f.write_str(other.fixed_text()),
        }
    }
}

impl Diagnosis {
    fn fixed_text(&self) -> &'static str {
        match self {
            Self::TimestampInSeconds => {
                "the signature's timestamp is in seconds instead of milliseconds: the sender must use Unix \
                 milliseconds (13 digits), in the header and in the signed message"
            }
            Self::TimestampNotSigned => {
                "the body alone was signed, without the timestamp: the sender must append the digits of `v` to the \
                 body before it computes the digest"
            }
            Self::BodyDecompressed => {
                "no configured key made this signature; the body is not compressed although Content-Encoding says so: \
                 a proxy decompresses bodies in transit, turn that off for the webhook's path"
            }
            Self::BodyCompressed => {
                "no configured key made this signature; the body is compressed, which Retell does not do: turn off \
                 request compression in the proxy or the sender"
            }
            Self::LineBreaksMissing => {
                "no configured key made this signature; the body is indented, but has no line breaks: `curl -d @FILE` \
                 removes them, use `curl --data-binary @FILE`; if that is not it, check RETELL_API_KEY"
            }
            Self::FormBody => {
                "no configured key made this signature; the body is declared as a form, but Retell sends JSON: have \
                 the sender post the bytes as application/json, with curl by `--data-binary @FILE` and this content \
                 type (`-d @FILE` removes line breaks)"
            }
            Self::EmptyBody => {
                "no configured key made this signature; the body is empty: look for a redirect or a proxy that drops \
                 bodies, and enter the final https URL in Retell's dashboard"
            }
            _ => {
                "no configured key made this signature: set RETELL_API_KEY to the key with the webhook badge of the \
                 sending workspace (Retell's dashboard, Settings → API Keys); if it is that key already, a proxy \
                 changes the body in transit, or `curl -d @FILE` removes its line breaks (use `--data-binary @FILE`)"
            }
        }
    }
}

fn write_not_on_allowlist(f: &mut fmt::Formatter<'_>, client_ip: Option<IpAddr>, proxy: Option<IpAddr>) -> fmt::Result {
    let Some(client_ip) = client_ip else {
        return f.write_str("the client address is unknown, so it is not on security.allowlist");
    };
    write!(f, "{client_ip} is not on security.allowlist")?;
    match proxy {
        Some(proxy) => write!(f, " (forwarded by the trusted proxy {proxy}): add it if Retell sends from there"),
        None => f.write_str(
            ": add it if Retell sends from there; if it is a proxy or a tunnel, add it to server.trusted_proxies",
        ),
    }
}

fn write_stale(f: &mut fmt::Formatter<'_>, age_ms: i64, digest: DigestCheck) -> fmt::Result {
    let is_past = age_ms >= 0;
    let when = if is_past { "ago" } else { "in the future" };
    write!(f, "the signature is stale: signed {} ms {when}", age_ms.unsigned_abs())?;
    let offset = HumanDuration(age_ms.unsigned_abs());
    match (digest, is_past) {
        (DigestCheck::Matches, true) => write!(
            f,
            ", but apart from its age it is valid: this machine's clock is {offset} ahead of the sender's \
             (synchronize it by NTP), or an old request was sent again (ignore it)"
        ),
        (DigestCheck::Matches, false) => write!(
            f,
            ", but apart from its age it is valid: this machine's clock is {offset} behind the sender's; synchronize \
             it by NTP"
        ),
        (DigestCheck::Mismatch, _) => f.write_str(
            ", and its digest does not match either (another key, or a changed body): check the key, then the clocks",
        ),
        (DigestCheck::ExplainedMismatch, _) => f.write_str("; compare the clocks (NTP)"),
        (DigestCheck::NotChecked, true) => write!(
            f,
            " (the body was not checked): this machine's clock is {offset} ahead of the sender's (check NTP), or an \
             old request was sent again"
        ),
        (DigestCheck::NotChecked, false) => write!(
            f,
            " (the body was not checked): this machine's clock is {offset} behind the sender's (check NTP), or the \
             signature is forged"
        ),
    }
}

/// A duration in milliseconds, shown in a readable unit: `1.5 s`, `6 min 40 s`, `2 h 1 min`, `3 days`.
struct HumanDuration(u64);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        match seconds {
            0..60 => write!(f, "{}.{} s", seconds, self.0 % 1000 / 100),
            60..3600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3600..172_800 => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
            _ => write!(f, "{} days", seconds / 86_400),
        }
    }
}

impl fmt::Display for JsonSerializerStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self {
            Self::JavaScript => "as JavaScript's JSON.stringify writes it, which is what Retell sends",
            Self::Python => "as Python's json.dumps writes it",
            Self::PythonUnicode => "as Python's json.dumps with ensure_ascii=False writes it",
            Self::CompactAscii => "without whitespace and with \\u escapes",
        };
        write!(
            f,
            "{how}; a proxy or the sender parses and rewrites the JSON after signing: have it forward the raw bytes"
        )
    }
}

impl fmt::Display for BodyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewlineAdded => {
                "whitespace was added at its end; send the bytes that were signed (curl: --data-binary; printf '%s' \
                 instead of echo)"
            }
            Self::NewlineRemoved => {
                "a newline at its end was removed; send the bytes that were signed (curl: --data-binary instead of -d)"
            }
            Self::LineBreaksRemoved => {
                "its line breaks were removed; send the bytes that were signed (curl: --data-binary @FILE instead of \
                 -d @FILE; PowerShell: Get-Content -Raw)"
            }
            Self::BomAdded => "a byte order mark was added in front; save the file as UTF-8 without one, or configure the sender that way",
            Self::BomRemoved => "a byte order mark in front was removed; sign the body without one",
            Self::LfToCrlf => {
                "its line ends were changed to CRLF; have the editor, git or proxy between signing and sending keep LF"
            }
            Self::CrlfToLf => {
                "its line ends were changed to LF; send the bytes that were signed (curl: --data-binary instead of -d)"
            }
            Self::Escaped => {
                "characters were replaced by \\u escapes; a proxy or the sender rewrites the JSON after signing: have \
                 it forward the raw bytes"
            }
            Self::Unescaped => {
                "\\u escapes were replaced by characters; a proxy or the sender rewrites the JSON after signing: have \
                 it forward the raw bytes"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_texts_name_the_offset_and_direction_of_the_clock() {
        let text = |age_ms, digest| Diagnosis::Stale { age_ms, digest }.to_string();
        assert!(text(400_000, DigestCheck::Matches).contains("clock is 6 min 40 s ahead"));
        assert!(text(-7_260_000, DigestCheck::Matches).contains("clock is 2 h 1 min behind"));
        assert!(text(i64::MAX, DigestCheck::NotChecked).contains("days ahead"));
        assert!(text(1_500, DigestCheck::NotChecked).contains("ms ago (the body"));
        assert!(text(1_500, DigestCheck::Mismatch).contains("does not match either"));
        assert_eq!(HumanDuration(1_540).to_string(), "1.5 s");
    }
}
