//! What was found out about a refused request, in words for whoever runs the receiver. No text here can hold a digest, a
//! key or a part of a body.

use std::fmt;

pub(crate) use super::malformed_header::MalformedHeaderReason;

/// The most specific reason known why a request was refused. Its text says what happened and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Diagnosis {
    /// No signature header.
    MissingHeader,
    /// No signature header, but one of another scheme, with this name.
    OtherSignatureHeader(&'static str),
    /// The header does not have Retell's form.
    MalformedHeader(MalformedHeaderReason),
    /// Signed too long ago, or too far in the future.
    Stale {
        /// Now minus the signature's time, in milliseconds.
        age_ms: i64,
        /// Whether the digest is right apart from that.
        digest: DigestCheck,
    },
    /// The time is in seconds where milliseconds belong.
    TimestampInSeconds,
    /// Signed with the key of another company, with this slug.
    OtherCompanyKey(String),
    /// The time was not appended to what was signed.
    TimestampNotSigned,
    /// The JSON was parsed and written anew on its way, or before it was signed.
    Reserialised(
        /// Whose way of writing fits the signature.
        JsonSerializerStyle,
    ),
    /// The body's bytes were changed in another way.
    BodyChanged(BodyChange),
    /// The body came plain although it is declared to be compressed: somebody on the way unpacked it.
    BodyDecompressed,
    /// The body is compressed.
    BodyCompressed,
    /// The body is a form.
    FormBody,
    /// There is no body.
    EmptyBody,
    /// None of the keys made the signature, and no known change of the body explains it.
    NoKeyMatched,
}

/// Whether the digest of a stale signature is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DigestCheck {
    /// The body was not read, or is too large to be tried.
    NotChecked,
    /// It is.
    Matches,
    /// It is not, and nobody knows why.
    Mismatch,
    /// It is not; another finding says why.
    ExplainedMismatch,
}

/// Who writes JSON in the way that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonSerializerStyle {
    /// `JSON.stringify`: no white space, characters as they are. Retell itself writes so.
    JavaScript,
    /// `json.dumps`: a blank after commas and colons, `\u` escapes.
    Python,
    /// `json.dumps` with `ensure_ascii=False`.
    PythonUnicode,
    /// No white space, `\u` escapes.
    CompactAscii,
}

/// A change of a body that the signature proves: without it, it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyChange {
    /// White space at the end that was not signed.
    NewlineAdded,
    /// A newline at the end that was signed is gone.
    NewlineRemoved,
    /// A UTF-8 byte order mark that was not signed.
    BomAdded,
    /// A byte order mark that was signed is gone.
    BomRemoved,
    /// LF was signed, CRLF came.
    LfToCrlf,
    /// CRLF was signed, LF came.
    CrlfToLf,
    /// Characters were signed as they are and came as `\u` escapes.
    Escaped,
    /// `\u` escapes were signed and came as characters.
    Unescaped,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingHeader => f.write_str(
                "the X-Retell-Signature header is missing: this is not Retell, or a proxy drops the header; let it through, or ignore this",
            ),
            Self::OtherSignatureHeader(name) => write!(
                f,
                "the X-Retell-Signature header is missing, but there is `{name}`: the sender signs for another service; send it Retell's header, made by `retell-webhook sign`",
            ),
            Self::MalformedHeader(flaw) => write!(f, "the X-Retell-Signature header is malformed: {flaw}"),
            Self::Stale { age_ms, digest } => write_stale(f, *age_ms, *digest),
            Self::OtherCompanyKey(slug) => write!(
                f,
                "signed with the key of company `{slug}`: paste the webhook URL of `{slug}` into that Retell account, or give this one its own key",
            ),
            Self::Reserialised(writer) => write!(f, "the body was re-serialised: the signature fits it {writer}"),
            Self::BodyChanged(change) => write!(f, "the body was changed: {change}"),
            other => f.write_str(other.fixed_text()),
        }
    }
}

impl Diagnosis {
    fn fixed_text(&self) -> &'static str {
        match self {
            Self::TimestampInSeconds => {
                "the signature's time is in seconds instead of milliseconds: whatever signs here must use Unix milliseconds (13 digits), in the header and in what is signed"
            }
            Self::TimestampNotSigned => {
                "the body alone was signed, without the time: whatever signs here must append the digits of `v` to the body before it makes the digest"
            }
            Self::BodyDecompressed => {
                "no configured key made this signature; the body is plain although Content-Encoding says it is compressed: a proxy unpacks bodies on the way, turn that off for the webhook's path"
            }
            Self::BodyCompressed => {
                "no configured key made this signature; the body is compressed, which Retell does not do: turn compression of requests off in the proxy or the sender"
            }
            Self::FormBody => {
                "no configured key made this signature; the body is declared to be a form, while Retell sends JSON: have the sender post its bytes as application/json"
            }
            Self::EmptyBody => {
                "no configured key made this signature; the body came empty: look for a redirect or a proxy that drops bodies, and paste the final https address into Retell's dashboard"
            }
            _ => {
                "no configured key made this signature: set RETELL_API_KEY to the key with the webhook badge of the workspace that sends (Retell's dashboard, Settings → API Keys); if it is that key, something on the way changes the body"
            }
        }
    }
}

fn write_stale(f: &mut fmt::Formatter<'_>, age_ms: i64, digest: DigestCheck) -> fmt::Result {
    let past = age_ms >= 0;
    let when = if past { "ago" } else { "in the future" };
    write!(f, "the signature is stale: signed {} ms {when}", age_ms.unsigned_abs())?;
    let by = HumanDuration(age_ms.unsigned_abs());
    match (digest, past) {
        (DigestCheck::Matches, true) => write!(
            f,
            ", but apart from its age it is right: this machine's clock is {by} ahead of the sender's (set it by NTP), or an old request was sent again (ignore it)"
        ),
        (DigestCheck::Matches, false) => write!(
            f,
            ", but apart from its age it is right: this machine's clock is {by} behind the sender's; set it by NTP"
        ),
        (DigestCheck::Mismatch, _) => f.write_str(
            ", and its digest does not fit either (another key, or a changed body): check the key, then the clocks",
        ),
        (DigestCheck::ExplainedMismatch, _) => f.write_str("; compare the clocks (NTP)"),
        (DigestCheck::NotChecked, true) => write!(
            f,
            " (its body was not looked at): this machine's clock is {by} ahead of the sender's (check NTP), or an old request was sent again"
        ),
        (DigestCheck::NotChecked, false) => write!(
            f,
            " (its body was not looked at): this machine's clock is {by} behind the sender's (check NTP), or the signature was made up"
        ),
    }
}

/// A length of time for people.
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
            Self::JavaScript => "as JavaScript's JSON.stringify writes it, which is how Retell sends it",
            Self::Python => "as Python's json.dumps writes it",
            Self::PythonUnicode => "as Python's json.dumps with ensure_ascii=False writes it",
            Self::CompactAscii => "without white space and with \\u escapes",
        };
        write!(
            f,
            "{how}; a proxy or the sender parses and rewrites JSON after signing: have it pass the raw bytes through"
        )
    }
}

impl fmt::Display for BodyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewlineAdded => {
                "white space was added at its end; send the bytes that were signed (curl: --data-binary; printf '%s' instead of echo)"
            }
            Self::NewlineRemoved => {
                "a newline at its end was dropped; send the bytes that were signed (curl: --data-binary instead of -d)"
            }
            Self::BomAdded => "a byte order mark was put in front; save the file or set the sender to UTF-8 without one",
            Self::BomRemoved => "a byte order mark in front was dropped; sign it without one",
            Self::LfToCrlf => {
                "its line ends became CRLF; have the editor, git or proxy between signing and sending keep LF"
            }
            Self::CrlfToLf => {
                "its line ends became LF; send the bytes that were signed (curl: --data-binary instead of -d)"
            }
            Self::Escaped => {
                "characters became \\u escapes; a proxy or the sender rewrites JSON after signing: have it pass the raw bytes through"
            }
            Self::Unescaped => {
                "\\u escapes became characters; a proxy or the sender rewrites JSON after signing: have it pass the raw bytes through"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_told_by_how_much_and_in_which_direction() {
        let text = |age_ms, digest| Diagnosis::Stale { age_ms, digest }.to_string();
        assert!(text(400_000, DigestCheck::Matches).contains("clock is 6 min 40 s ahead"));
        assert!(text(-7_260_000, DigestCheck::Matches).contains("clock is 2 h 1 min behind"));
        assert!(text(i64::MAX, DigestCheck::NotChecked).contains("days ahead"));
        assert!(text(1_500, DigestCheck::Mismatch).contains("does not fit either"));
        assert_eq!(HumanDuration(1_540).to_string(), "1.5 s");
    }
}
