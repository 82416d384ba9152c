//! A rejected request, reduced to what may be diagnosed, logged and stored later.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::http::layer::{ForbiddenRequest, SignatureRejection};
use crate::privacy::redact;
use crate::security::diagnose::{CandidateKeys, DiagnosisInput, diagnose};
use crate::security::diagnosis::Diagnosis;
use crate::security::keys::ApiKey;
use crate::security::rejection_reason::RejectionReason;
use crate::security::signature::{SIGNATURE_HEADER, SignatureError};
use crate::storage::{RejectedRequest, sanitize_text};
use crate::tenants::{Company, CompanyDirectory};

/// Headers that are stored in addition to `x-forwarded-…`. None of them carries a secret or personal data.
const KEPT_HEADERS: [&str; 7] =
    ["content-type", "content-encoding", "content-length", "user-agent", "transfer-encoding", "host", "via"];
/// Maximum number of stored headers per request.
const MAX_KEPT_HEADERS: usize = 24;
/// A header with a longer name is not stored.
const MAX_HEADER_NAME_BYTES: usize = 64;
/// A longer signature header is truncated; a valid one has less than 100 bytes.
const MAX_SIGNATURE_BYTES: usize = 512;
/// Signature headers of other services, which show that a request was sent to the wrong receiver.
const OTHER_SIGNATURE_HEADERS: [&str; 5] =
    ["webhook-signature", "svix-signature", "x-hub-signature-256", "stripe-signature", "x-signature"];

/// The company that a request was sent to, and the keys that may have signed it.
#[derive(Clone, Default)]
pub(super) struct CompanyCandidateKeys {
    /// The company's slug; `None` when the signature layer does not know companies.
    pub(super) company_slug: Option<Arc<str>>,
    /// The keys that the signature was checked with.
    pub(super) own_keys: Arc<[ApiKey]>,
    /// The keys of the other companies with their slugs: a match means a wrong URL in one company's dashboard.
    pub(super) other_companies_keys: Arc<[(String, ApiKey)]>,
}

/// Why a request was rejected, before its diagnosis.
#[derive(Clone, Copy, Debug)]
pub(super) enum PendingReason {
    Signature(SignatureError),
    /// Forwarded by this trusted proxy.
    NotOnAllowlist {
        proxy: Option<IpAddr>,
    },
}

impl fmt::Display for PendingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(error) => error.fmt(f),
            Self::NotOnAllowlist { .. } => f.write_str("the address is not on security.allowlist"),
        }
    }
}

impl From<PendingReason> for RejectionReason {
    fn from(reason: PendingReason) -> Self {
        match reason {
            PendingReason::Signature(error) => error.into(),
            PendingReason::NotOnAllowlist { .. } => Self::NotOnAllowlist,
        }
    }
}

/// A rejected request that waits for its diagnosis.
pub(super) struct PendingRejection {
    pub(super) candidate_keys: CompanyCandidateKeys,
    pub(super) reason: PendingReason,
    pub(super) client_ip: Option<IpAddr>,
    pub(super) body: Option<Bytes>,
    pub(super) received_at_ms: i64,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    signature: Option<String>,
    signature_ambiguous: bool,
    other_signature_header: Option<&'static str>,
}

impl CompanyCandidateKeys {
    /// Collects the keys of `company` and of all other companies in `companies`.
    fn for_company(company: Option<&Arc<Company>>, companies: &CompanyDirectory) -> Self {
        let Some(company) = company else { return Self::default() };
        let keys = |company: &Company| company.verifier.as_ref().map(|verifier| Arc::clone(verifier.keys()));
        let mut other_companies_keys = Vec::new();
        for other in companies.iter().filter(|other| other.id != company.id) {
            for key in keys(other).iter().flat_map(|keys| keys.iter()) {
                other_companies_keys.push((other.slug.to_string(), key.clone()));
            }
        }
        Self {
            company_slug: Some(Arc::clone(&company.slug)),
            own_keys: keys(company).unwrap_or_default(),
            other_companies_keys: other_companies_keys.into(),
        }
    }
}

impl PendingRejection {
    pub(super) fn from_request(rejection: &SignatureRejection, companies: &CompanyDirectory) -> Self {
        let signatures: Vec<_> = rejection.headers.get_all(SIGNATURE_HEADER).iter().take(2).collect();
        let signature = match signatures[..] {
            [single] => single.to_str().ok(),
            _ => None,
        };
        Self {
            candidate_keys: CompanyCandidateKeys::for_company(rejection.company.as_ref(), companies),
            reason: PendingReason::Signature(rejection.reason),
            client_ip: rejection.client_ip,
            body: rejection.body.clone(),
            received_at_ms: rejection.received_at_ms,
            method: sanitize_text(Some(rejection.method.to_string())).unwrap_or_default(),
            path: redact::path(rejection.uri.path()),
            headers: select_headers(&rejection.headers),
            signature: signature.map(|text| text[..text.floor_char_boundary(MAX_SIGNATURE_BYTES)].to_owned()),
            signature_ambiguous: !signatures.is_empty() && signature.is_none(),
            other_signature_header: OTHER_SIGNATURE_HEADERS
                .into_iter()
                .find(|name| rejection.headers.contains_key(*name)),
        }
    }

    /// A request from an address that is not on the allowlist. Its signature was not checked.
    pub(super) fn from_forbidden(request: &ForbiddenRequest<'_>) -> Self {
        Self {
            candidate_keys: CompanyCandidateKeys::default(),
            reason: PendingReason::NotOnAllowlist { proxy: request.proxy },
            client_ip: request.client_ip,
            body: None,
            received_at_ms: request.received_at_ms,
            method: sanitize_text(Some(request.method.to_string())).unwrap_or_default(),
            path: redact::path(request.path),
            headers: select_headers(request.headers),
            signature: None,
            signature_ambiguous: false,
            other_signature_header: None,
        }
    }

    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self.reason, PendingReason::NotOnAllowlist { .. })
    }

    /// Diagnoses why the request was rejected; the most specific findings come first.
    pub(super) fn diagnose(&self, tolerance_ms: i64) -> Vec<Diagnosis> {
        if let PendingReason::NotOnAllowlist { proxy } = self.reason {
            return vec![Diagnosis::NotOnAllowlist { client_ip: self.client_ip, proxy }];
        }
        let input = DiagnosisInput {
            body: self.body.as_deref(),
            signature_header: self.signature.as_deref(),
            repeated_signature_header: self.signature_ambiguous,
            other_signature_header: self.other_signature_header,
            content_encoding: self.headers.get("content-encoding").map(String::as_str),
            content_type: self.headers.get("content-type").map(String::as_str),
        };
        let keys = CandidateKeys {
            own_keys: &self.candidate_keys.own_keys,
            other_company_keys: &self.candidate_keys.other_companies_keys,
        };
        diagnose(&input, keys, tolerance_ms, self.received_at_ms)
    }

    /// Converts into the row of the store. The signature's MAC is redacted; the body is included if `keep_body` is set.
    pub(super) fn into_rejection(self, diagnosis: String, keep_body: bool) -> RejectedRequest {
        let mut headers = self.headers;
        if self.signature_ambiguous {
            headers.insert(SIGNATURE_HEADER.into(), "(more than once, or not text)".into());
        } else if let Some(signature) = &self.signature {
            headers.insert(SIGNATURE_HEADER.into(), redact::signature(signature));
        }
        RejectedRequest {
            company: self.candidate_keys.company_slug.map(|slug| slug.to_string()),
            received_at_ms: self.received_at_ms,
            source: self.client_ip.map(|client_ip| client_ip.to_string()),
            method: self.method,
            path: self.path,
            headers,
            size_bytes: self.body.as_ref().map(|body| body.len() as u64),
            reason: self.reason.into(),
            diagnosis,
            body: self.body.filter(|_| keep_body),
        }
    }
}

fn select_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let is_kept = |name: &HeaderName| {
        let name = name.as_str();
        let is_listed = KEPT_HEADERS.contains(&name) || name.starts_with("x-forwarded-");
        is_listed && name.len() <= MAX_HEADER_NAME_BYTES
    };
    let text =
        |value: &HeaderValue| sanitize_text(value.to_str().ok().map(str::to_owned)).unwrap_or("(not text)".into());
    let kept = headers.iter().filter(|(name, _)| is_kept(name)).take(MAX_KEPT_HEADERS);
    kept.map(|(name, value)| (name.to_string(), text(value))).collect()
}
