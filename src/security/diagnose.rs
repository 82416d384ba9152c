//! Why a request was refused, as exactly as can be found out: tries what is known to go wrong between signing and
//! receiving, and says which of it makes the digest fit.

use super::diagnosis::{BodyChange, Diagnosis, DigestCheck, JsonSerializerStyle};
use super::json_style::{JsonSpacing, JsonStyle, reserialise};
use super::keys::ApiKey;
use super::malformed_header::MalformedHeaderReason;
use super::signature::Signature;

/// Larger bodies are not tried: the work is a few dozen digests of the body.
pub(crate) const MAX_DIAGNOSED_BODY_BYTES: usize = 64 * 1024;
/// Bytes hashed at most with the keys of other companies.
const MAX_HASHED_BYTES: usize = 4 * 1024 * 1024;
/// Until 2286, Unix seconds have ten digits; as milliseconds they lie in January 1970.
const UNIX_SECONDS_RANGE: std::ops::Range<i64> = 1_000_000_000..10_000_000_000;

/// What is known of a refused request.
#[derive(Clone, Copy, Default)]
pub(crate) struct DiagnosisInput<'a> {
    /// Its body, when it was read.
    pub body: Option<&'a [u8]>,
    /// Its `X-Retell-Signature` header.
    pub signature_header: Option<&'a str>,
    /// The header is there more than once, or is no text.
    pub repeated_signature_header: bool,
    /// The name of another service's signature header that is there.
    pub other_signature_header: Option<&'static str>,
    /// Its `Content-Encoding` header.
    pub content_encoding: Option<&'a str>,
    /// Its `Content-Type` header.
    pub content_type: Option<&'a str>,
}

/// The keys that may have made a signature.
#[derive(Clone, Copy, Default)]
pub(crate) struct CandidateKeys<'a> {
    /// Those of the company the request was for.
    pub own_keys: &'a [ApiKey],
    /// Those of other companies, with their slugs.
    pub other_company_keys: &'a [(String, ApiKey)],
}

/// Why the request was refused, the most specific reason first; never empty. `now_ms` is when it was received, and
/// `tolerance_ms` how far from then its signature may be.
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
    let case = SignatureTrial { signature, body: body.unwrap_or_default(), keys };
    let age_ms = now_ms.saturating_sub(signature.timestamp_ms());
    let stale = age_ms.unsigned_abs() > tolerance_ms.unsigned_abs();
    if stale && UNIX_SECONDS_RANGE.contains(&signature.timestamp_ms()) {
        return vec![Diagnosis::TimestampInSeconds];
    }
    let found = body.and_then(|_| case.find_cause());
    let digest = match body {
        None => DigestCheck::NotChecked,
        Some(body) if case.matches(body) => DigestCheck::Matches,
        Some(_) => DigestCheck::Mismatch,
    };
    match (stale, found) {
        (true, Some(found)) => vec![found, Diagnosis::Stale { age_ms, digest: DigestCheck::ExplainedMismatch }],
        (true, None) => vec![Diagnosis::Stale { age_ms, digest }],
        (false, Some(found)) => vec![found],
        (false, None) => vec![evidence.diagnose_body_format()],
    }
}

/// The findings as one text.
#[must_use]
pub(crate) fn format_diagnosis(findings: &[Diagnosis]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; also, ")
}

impl DiagnosisInput<'_> {
    /// What the look of the request tells when no digest does.
    fn diagnose_body_format(&self) -> Diagnosis {
        let Some(body) = self.body else { return Diagnosis::NoKeyMatched };
        let declared = |name: &str| self.content_encoding.is_some_and(|coding| coding.eq_ignore_ascii_case(name));
        let encoded = self.content_encoding.is_some() && !declared("identity");
        let form = self.content_type.is_some_and(|kind| kind.to_ascii_lowercase().contains("form"));
        match body.trim_ascii_start() {
            [] => Diagnosis::EmptyBody,
            [0x1f, 0x8b, ..] => Diagnosis::BodyCompressed,
            [b'{' | b'[', ..] if encoded => Diagnosis::BodyDecompressed,
            _ if encoded => Diagnosis::BodyCompressed,
            _ if form => Diagnosis::FormBody,
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
    /// What has to be undone for the digest to fit, if that is known.
    fn find_cause(&self) -> Option<Diagnosis> {
        if self.matches(self.body) {
            return None;
        }
        self.find_other_company()
            .map(Diagnosis::OtherCompanyKey)
            .or_else(|| self.check_signed_message())
            .or_else(|| self.find_body_change().map(Diagnosis::BodyChanged))
            .or_else(|| self.find_reserialisation())
    }

    /// Whether one of the own keys signed these bytes as Retell does.
    fn matches(&self, bytes: &[u8]) -> bool {
        self.matches_with_suffix(bytes, &self.signature.timestamp_ms().to_string())
    }

    fn matches_with_suffix(&self, bytes: &[u8], appended: &str) -> bool {
        self.keys.own_keys.iter().any(|key| self.signature.is_valid_with(key, bytes, appended))
    }

    fn find_other_company(&self) -> Option<String> {
        let digits = self.signature.timestamp_ms().to_string();
        let most = MAX_HASHED_BYTES / self.body.len().max(64);
        let mut others = self.keys.other_company_keys.iter().take(most);
        others.find(|(_, key)| self.signature.is_valid_with(key, self.body, &digits)).map(|(slug, _)| slug.clone())
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
        if body.strip_prefix(BOM).is_some_and(|bare| self.matches(bare)) {
            return Some(BodyChange::BomAdded);
        }
        if self.matches(&[BOM, body].concat()) {
            return Some(BodyChange::BomRemoved);
        }
        let lf = crlf_to_lf(body);
        if lf.len() < body.len() && self.matches(&lf) {
            return Some(BodyChange::LfToCrlf);
        }
        if body.contains(&b'\n') && self.matches(&lf_to_crlf(&lf)) {
            return Some(BodyChange::CrlfToLf);
        }
        let respelled = |ascii| {
            reserialise(body, JsonStyle { spacing: JsonSpacing::Unchanged, escape_non_ascii: ascii })
                .filter(|written| written != body)
        };
        if respelled(false).is_some_and(|written| self.matches(&written)) {
            return Some(BodyChange::Escaped);
        }
        respelled(true).is_some_and(|written| self.matches(&written)).then_some(BodyChange::Unescaped)
    }

    /// Without one line end, or without all white space at the end.
    fn matches_without_trailing_whitespace(&self) -> bool {
        let one = self.body.strip_suffix(b"\n");
        let two = one.and_then(|rest| rest.strip_suffix(b"\r"));
        [one, two, Some(self.body.trim_ascii_end())].into_iter().flatten().any(|bytes| self.matches(bytes))
    }

    fn find_reserialisation(&self) -> Option<Diagnosis> {
        let writers = [
            (JsonSerializerStyle::JavaScript, JsonSpacing::Compact, false),
            (JsonSerializerStyle::Python, JsonSpacing::AfterSeparators, true),
            (JsonSerializerStyle::PythonUnicode, JsonSpacing::AfterSeparators, false),
            (JsonSerializerStyle::CompactAscii, JsonSpacing::Compact, true),
        ];
        // A byte order mark in front hides JSON from the parser.
        let body = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.body);
        let mut fitting = writers.into_iter().filter(|(_, space, ascii)| {
            reserialise(body, JsonStyle { spacing: *space, escape_non_ascii: *ascii }).is_some_and(|w| self.matches(&w))
        });
        fitting.next().map(|(writer, _, _)| Diagnosis::Reserialised(writer))
    }
}

fn crlf_to_lf(body: &[u8]) -> Vec<u8> {
    let kept = body.iter().enumerate().filter(|(at, byte)| **byte != b'\r' || body.get(at + 1) != Some(&b'\n'));
    kept.map(|(_, byte)| *byte).collect()
}

fn lf_to_crlf(lf: &[u8]) -> Vec<u8> {
    lf.iter().flat_map(|byte| if *byte == b'\n' { b"\r\n".to_vec() } else { vec![*byte] }).collect()
}
