//! Finds out why a request was rejected: undoes, one by one, the known mistakes between signing and receiving, and
//! reports the one whose reversal makes the digest match.

use super::diagnosis::{BodyChange, Diagnosis, DigestCheck, JsonSerializerStyle};
use super::json_style::{JsonSpacing, JsonStyle, reserialize};
use super::keys::ApiKey;
use super::line_breaks;
use super::malformed_header::MalformedHeaderReason;
use super::signature::Signature;

/// Larger bodies are not diagnosed, because a diagnosis computes a few dozen digests of the body.
pub(crate) const MAX_DIAGNOSED_BODY_BYTES: usize = 64 * 1024;
/// Limit of the bytes that are hashed with keys of other companies, so that many companies and a large body together
/// cannot be used to waste processor time.
const MAX_HASHED_BYTES: usize = 4 * 1024 * 1024;
/// Unix seconds have ten digits until the year 2286. Read as milliseconds they are dates in January to April 1970,
/// which no genuine signature has.
const UNIX_SECONDS_RANGE: std::ops::Range<i64> = 1_000_000_000..10_000_000_000;

/// Everything that is known about a rejected request.
#[derive(Clone, Copy, Default)]
pub(crate) struct DiagnosisInput<'a> {
    /// The body; `None` when it was not read.
    pub body: Option<&'a [u8]>,
    /// Value of the `X-Retell-Signature` header.
    pub signature_header: Option<&'a str>,
    /// The header is present more than once, or is not ASCII text.
    pub repeated_signature_header: bool,
    /// Name of another service's signature header, when one is present.
    pub other_signature_header: Option<&'static str>,
    pub content_encoding: Option<&'a str>,
    pub content_type: Option<&'a str>,
}

/// The keys that are tried against a signature.
#[derive(Clone, Copy, Default)]
pub(crate) struct CandidateKeys<'a> {
    /// Keys of the company to which the request was sent.
    pub own_keys: &'a [ApiKey],
    /// Keys of the other companies, with the companies' slugs.
    pub other_company_keys: &'a [(String, ApiKey)],
}

/// Why the request was rejected, the most specific reason first; never empty. `now_ms` is the time at which the
/// request was received, and `tolerance_ms` is the allowed difference to the signature's timestamp.
#[must_use]
pub(crate) fn diagnose(
    evidence: &DiagnosisInput<'_>,
    keys: CandidateKeys<'_>,
    tolerance_ms: i64,
    now_ms: i64,
) -> Vec<Diagnosis> {
    if evidence.repeated_signature_header {
        return vec![Diagnosis::MalformedHeader(MalformedHeaderReason::Repeated)];
    }
    let Some(header) = evidence.signature_header else {
        return vec![evidence.other_signature_header.map_or(Diagnosis::MissingHeader, Diagnosis::OtherSignatureHeader)];
    };
    let Ok(signature) = header.parse::<Signature>() else {
        return vec![Diagnosis::MalformedHeader(MalformedHeaderReason::classify(header))];
    };
    let body = evidence.body.filter(|body| body.len() <= MAX_DIAGNOSED_BODY_BYTES);
    let trial = SignatureTrial { signature, body: body.unwrap_or_default(), keys };
    let age_ms = now_ms.saturating_sub(signature.timestamp_ms());
    let is_stale = age_ms.unsigned_abs() > tolerance_ms.unsigned_abs();
    if is_stale && UNIX_SECONDS_RANGE.contains(&signature.timestamp_ms()) {
        return vec![Diagnosis::TimestampInSeconds];
    }
    let cause = body.and_then(|_| trial.find_cause());
    let digest = match body {
        None => DigestCheck::NotChecked,
        Some(body) if trial.matches(body) => DigestCheck::Matches,
        Some(_) => DigestCheck::Mismatch,
    };
    match (is_stale, cause) {
        (true, Some(cause)) => vec![cause, Diagnosis::Stale { age_ms, digest: DigestCheck::ExplainedMismatch }],
        (true, None) => vec![Diagnosis::Stale { age_ms, digest }],
        (false, Some(cause)) => vec![cause],
        (false, None) => vec![evidence.diagnose_body_format()],
    }
}

/// Joins the findings into one text for logs and the command line.
#[must_use]
pub(crate) fn format_diagnosis(findings: &[Diagnosis]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; also, ")
}

impl DiagnosisInput<'_> {
    /// A guess from the form of the request, for the case that no digest matches.
    fn diagnose_body_format(&self) -> Diagnosis {
        let Some(body) = self.body else { return Diagnosis::NoKeyMatched };
        let is_encoded = self.content_encoding.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"));
        let is_form = self.content_type.is_some_and(|kind| kind.to_ascii_lowercase().contains("form"));
        match body.trim_ascii_start() {
            [] => Diagnosis::EmptyBody,
            // The magic number of gzip.
            [0x1f, 0x8b, ..] => Diagnosis::BodyCompressed,
            [b'{' | b'[', ..] if is_encoded => Diagnosis::BodyDecompressed,
            _ if is_encoded => Diagnosis::BodyCompressed,
            _ if line_breaks::has_indentation(body) => Diagnosis::LineBreaksMissing,
            _ if is_form => Diagnosis::FormBody,
            _ => Diagnosis::NoKeyMatched,
        }
    }
}

struct SignatureTrial<'a> {
    signature: Signature,
    body: &'a [u8],
    keys: CandidateKeys<'a>,
}

impl SignatureTrial<'_> {
    /// The mistake whose reversal makes the digest match; `None` when the digest matches anyway or no known mistake
    /// explains it.
    fn find_cause(&self) -> Option<Diagnosis> {
        if self.matches(self.body) {
            return None;
        }
        self.find_other_company()
            .map(Diagnosis::OtherCompanyKey)
            .or_else(|| self.check_signed_message())
            .or_else(|| self.find_body_change().map(Diagnosis::BodyChanged))
            .or_else(|| self.find_reserialization())
    }

    /// Whether one of the company's own keys signed these bytes in the way Retell does.
    fn matches(&self, bytes: &[u8]) -> bool {
        self.matches_with_suffix(bytes, &self.signature.timestamp_ms().to_string())
    }

    fn matches_with_suffix(&self, bytes: &[u8], appended: &str) -> bool {
        self.keys.own_keys.iter().any(|key| self.signature.is_valid_with(key, bytes, appended))
    }

    fn find_other_company(&self) -> Option<String> {
        let digits = self.signature.timestamp_ms().to_string();
        // A digest costs at least one block of 64 bytes, however small the body is.
        let max_keys = MAX_HASHED_BYTES / self.body.len().max(64);
        let mut candidates = self.keys.other_company_keys.iter().take(max_keys);
        let (slug, _) = candidates.find(|(_, key)| self.signature.is_valid_with(key, self.body, &digits))?;
        Some(slug.clone())
    }

    fn check_signed_message(&self) -> Option<Diagnosis> {
        if self.matches_with_suffix(self.body, "") {
            return Some(Diagnosis::TimestampNotSigned);
        }
        let seconds = (self.signature.timestamp_ms() / 1000).to_string();
        self.matches_with_suffix(self.body, &seconds).then_some(Diagnosis::TimestampInSeconds)
    }

    fn find_body_change(&self) -> Option<BodyChange> {
        const BOM: &[u8] = b"\xef\xbb\xbf";
        let body = self.body;
        if body.trim_ascii_end().len() < body.len() && self.matches_without_trailing_whitespace() {
            return Some(BodyChange::NewlineAdded);
        }
        if [&b"\n"[..], b"\r\n"].iter().any(|end| self.matches(&[body, end].concat())) {
            return Some(BodyChange::NewlineRemoved);
        }
        if line_breaks::candidates(body).any(|signed| self.matches(&signed)) {
            return Some(BodyChange::LineBreaksRemoved);
        }
        if body.strip_prefix(BOM).is_some_and(|bare| self.matches(bare)) {
            return Some(BodyChange::BomAdded);
        }
        if self.matches(&[BOM, body].concat()) {
            return Some(BodyChange::BomRemoved);
        }
        let lf = crlf_to_lf(body);
        if lf.len() < body.len() && self.matches_with_any_end(&lf, b"\n") {
            return Some(BodyChange::LfToCrlf);
        }
        if body.contains(&b'\n') && self.matches_with_any_end(&lf_to_crlf(&lf), b"\r\n") {
            return Some(BodyChange::CrlfToLf);
        }
        if self.matches_reescaped(false) {
            return Some(BodyChange::Escaped);
        }
        self.matches_reescaped(true).then_some(BodyChange::Unescaped)
    }

    /// Whether the digest matches when the strings of the JSON are escaped in another way. A body that this does not
    /// change was tried before.
    fn matches_reescaped(&self, escape_non_ascii: bool) -> bool {
        let style = JsonStyle { spacing: JsonSpacing::Unchanged, escape_non_ascii };
        reserialize(self.body, style).is_some_and(|written| written != self.body && self.matches(&written))
    }

    /// Whether the digest matches these bytes, also with another end: editors add a line end or remove it.
    fn matches_with_any_end(&self, bytes: &[u8], line_end: &[u8]) -> bool {
        let bare = bytes.trim_ascii_end();
        self.matches(bytes) || self.matches(bare) || self.matches(&[bare, line_end].concat())
    }

    /// Whether the digest matches without one line end, or without all whitespace at the end.
    fn matches_without_trailing_whitespace(&self) -> bool {
        let without_lf = self.body.strip_suffix(b"\n");
        let without_crlf = without_lf.and_then(|rest| rest.strip_suffix(b"\r"));
        [without_lf, without_crlf, Some(self.body.trim_ascii_end())]
            .into_iter()
            .flatten()
            .any(|bytes| self.matches(bytes))
    }

    fn find_reserialization(&self) -> Option<Diagnosis> {
        let writers = [
            (JsonSerializerStyle::JavaScript, JsonSpacing::Compact, false),
            (JsonSerializerStyle::Python, JsonSpacing::AfterSeparators, true),
            (JsonSerializerStyle::PythonUnicode, JsonSpacing::AfterSeparators, false),
            (JsonSerializerStyle::CompactAscii, JsonSpacing::Compact, true),
        ];
        // The JSON parser rejects a byte order mark.
        let body = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.body);
        let matches = |spacing, escape_non_ascii| {
            reserialize(body, JsonStyle { spacing, escape_non_ascii }).is_some_and(|written| self.matches(&written))
        };
        let (writer, ..) = writers.into_iter().find(|(_, spacing, ascii)| matches(*spacing, *ascii))?;
        Some(Diagnosis::Reserialized(writer))
    }
}

fn crlf_to_lf(body: &[u8]) -> Vec<u8> {
    let mut lf = Vec::with_capacity(body.len());
    for (position, byte) in body.iter().enumerate() {
        // A carriage return without a line feed is content.
        let is_line_end = *byte == b'\r' && body.get(position + 1) == Some(&b'\n');
        if !is_line_end {
            lf.push(*byte);
        }
    }
    lf
}

fn lf_to_crlf(lf: &[u8]) -> Vec<u8> {
    let mut crlf = Vec::with_capacity(lf.len() + lf.len() / 8);
    for byte in lf {
        if *byte == b'\n' {
            crlf.push(b'\r');
        }
        crlf.push(*byte);
    }
    crlf
}
