//! Why a request was refused, as exactly as can be found out: tries what is known to go wrong between signing and
//! receiving, and says which of it makes the digest fit.

use super::finding::{Change, Digest, Finding, Writer};
use super::flaw::Flaw;
use super::keys::ApiKey;
use super::rewrite::{Space, Style, rewrite};
use super::signature::Signature;

/// Larger bodies are not tried: the work is a few dozen digests of the body.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Bytes hashed at most with the keys of other companies.
const WORK_BYTES: usize = 4 * 1024 * 1024;
/// Until 2286, Unix seconds have ten digits; as milliseconds they lie in January 1970.
const SECONDS: std::ops::Range<i64> = 1_000_000_000..10_000_000_000;

/// What is known of a refused request.
#[derive(Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// Its body, when it was read.
    pub body: Option<&'a [u8]>,
    /// Its `X-Retell-Signature` header.
    pub header: Option<&'a str>,
    /// The header is there more than once, or is no text.
    pub repeated: bool,
    /// The name of another service's signature header that is there.
    pub other_header: Option<&'static str>,
    /// Its `Content-Encoding` header.
    pub content_encoding: Option<&'a str>,
    /// Its `Content-Type` header.
    pub content_type: Option<&'a str>,
}

/// The keys that may have made a signature.
#[derive(Clone, Copy, Default)]
pub struct Keys<'a> {
    /// Those of the company the request was for.
    pub own: &'a [ApiKey],
    /// Those of other companies, with their slugs.
    pub others: &'a [(String, ApiKey)],
}

/// Why the request was refused, the most specific reason first; never empty. `now_ms` is when it was received, and
/// `window_ms` how far from then its signature may be.
#[must_use]
pub fn diagnose(evidence: &Evidence<'_>, keys: Keys<'_>, window_ms: i64, now_ms: i64) -> Vec<Finding> {
    if evidence.repeated {
        return vec![Finding::Malformed(Flaw::Repeated)];
    }
    let Some(header) = evidence.header else {
        return vec![evidence.other_header.map_or(Finding::Missing, Finding::MissingButOther)];
    };
    let Ok(signature) = header.parse::<Signature>() else {
        return vec![Finding::Malformed(Flaw::of(header))];
    };
    let body = evidence.body.filter(|body| body.len() <= MAX_BODY_BYTES);
    let case = Case { signature, body: body.unwrap_or_default(), keys };
    let age_ms = now_ms.saturating_sub(signature.timestamp_ms());
    let stale = age_ms.unsigned_abs() > window_ms.unsigned_abs();
    if stale && SECONDS.contains(&signature.timestamp_ms()) {
        return vec![Finding::Seconds];
    }
    let found = body.and_then(|_| case.explain());
    let digest = match body {
        None => Digest::Unknown,
        Some(body) if case.fits(body) => Digest::Fits,
        Some(_) => Digest::Differs,
    };
    match (stale, found) {
        (true, Some(found)) => vec![found, Finding::Stale { age_ms, digest: Digest::Explained }],
        (true, None) => vec![Finding::Stale { age_ms, digest }],
        (false, Some(found)) => vec![found],
        (false, None) => vec![evidence.look()],
    }
}

/// The findings as one text.
#[must_use]
pub fn text(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; also, ")
}

impl Evidence<'_> {
    /// What the look of the request tells when no digest does.
    fn look(&self) -> Finding {
        let Some(body) = self.body else { return Finding::NoKey };
        let declared = |name: &str| self.content_encoding.is_some_and(|coding| coding.eq_ignore_ascii_case(name));
        let encoded = self.content_encoding.is_some() && !declared("identity");
        let form = self.content_type.is_some_and(|kind| kind.to_ascii_lowercase().contains("form"));
        match body.trim_ascii_start() {
            [] => Finding::Empty,
            [0x1f, 0x8b, ..] => Finding::Compressed,
            [b'{' | b'[', ..] if encoded => Finding::Decompressed,
            _ if encoded => Finding::Compressed,
            _ if form => Finding::Form,
            _ => Finding::NoKey,
        }
    }
}

struct Case<'a> {
    signature: Signature,
    body: &'a [u8],
    keys: Keys<'a>,
}

impl Case<'_> {
    /// What has to be undone for the digest to fit, if that is known.
    fn explain(&self) -> Option<Finding> {
        if self.fits(self.body) {
            return None;
        }
        self.other_company()
            .map(Finding::OtherCompany)
            .or_else(|| self.signed_otherwise())
            .or_else(|| self.change().map(Finding::Changed))
            .or_else(|| self.rewritten())
    }

    /// Whether one of the own keys signed these bytes as Retell does.
    fn fits(&self, bytes: &[u8]) -> bool {
        self.fits_with(bytes, &self.signature.timestamp_ms().to_string())
    }

    fn fits_with(&self, bytes: &[u8], appended: &str) -> bool {
        self.keys.own.iter().any(|key| self.signature.is_over(key, bytes, appended))
    }

    fn other_company(&self) -> Option<String> {
        let digits = self.signature.timestamp_ms().to_string();
        let most = WORK_BYTES / self.body.len().max(64);
        let mut others = self.keys.others.iter().take(most);
        others.find(|(_, key)| self.signature.is_over(key, self.body, &digits)).map(|(slug, _)| slug.clone())
    }

    fn signed_otherwise(&self) -> Option<Finding> {
        if self.fits_with(self.body, "") {
            return Some(Finding::BodyAlone);
        }
        let seconds = (self.signature.timestamp_ms() / 1000).to_string();
        self.fits_with(self.body, &seconds).then_some(Finding::Seconds)
    }

    fn change(&self) -> Option<Change> {
        const BOM: &[u8] = b"\xef\xbb\xbf";
        let body = self.body;
        if body.trim_ascii_end().len() < body.len() && self.ends_fit() {
            return Some(Change::NewlineAdded);
        }
        if [&b"\n"[..], b"\r\n"].iter().any(|end| self.fits(&[body, end].concat())) {
            return Some(Change::NewlineRemoved);
        }
        if body.strip_prefix(BOM).is_some_and(|bare| self.fits(bare)) {
            return Some(Change::BomAdded);
        }
        if self.fits(&[BOM, body].concat()) {
            return Some(Change::BomRemoved);
        }
        let lf = without_cr(body);
        if lf.len() < body.len() && self.fits(&lf) {
            return Some(Change::LfToCrlf);
        }
        if body.contains(&b'\n') && self.fits(&with_cr(&lf)) {
            return Some(Change::CrlfToLf);
        }
        let respelled = |ascii| rewrite(body, Style { space: Space::Kept, ascii }).filter(|written| written != body);
        if respelled(false).is_some_and(|written| self.fits(&written)) {
            return Some(Change::Escaped);
        }
        respelled(true).is_some_and(|written| self.fits(&written)).then_some(Change::Unescaped)
    }

    /// Without one line end, or without all white space at the end.
    fn ends_fit(&self) -> bool {
        let one = self.body.strip_suffix(b"\n");
        let two = one.and_then(|rest| rest.strip_suffix(b"\r"));
        [one, two, Some(self.body.trim_ascii_end())].into_iter().flatten().any(|bytes| self.fits(bytes))
    }

    fn rewritten(&self) -> Option<Finding> {
        let writers = [
            (Writer::JavaScript, Space::None, false),
            (Writer::Python, Space::After, true),
            (Writer::PythonUnicode, Space::After, false),
            (Writer::CompactAscii, Space::None, true),
        ];
        // A byte order mark in front hides JSON from the parser.
        let body = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.body);
        let mut fitting = writers.into_iter().filter(|(_, space, ascii)| {
            rewrite(body, Style { space: *space, ascii: *ascii }).is_some_and(|w| self.fits(&w))
        });
        fitting.next().map(|(writer, _, _)| Finding::Reserialised(writer))
    }
}

fn without_cr(body: &[u8]) -> Vec<u8> {
    let kept = body.iter().enumerate().filter(|(at, byte)| **byte != b'\r' || body.get(at + 1) != Some(&b'\n'));
    kept.map(|(_, byte)| *byte).collect()
}

fn with_cr(lf: &[u8]) -> Vec<u8> {
    lf.iter().flat_map(|byte| if *byte == b'\n' { b"\r\n".to_vec() } else { vec![*byte] }).collect()
}
