//! A refused request, reduced to what may be looked at later.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::http::company::{Company, CompanyDirectory};
use crate::http::layer::SignatureRejection;
use crate::security::diagnose::{CandidateKeys, DiagnosisInput, diagnose};
use crate::security::diagnosis::Diagnosis;
use crate::security::keys::ApiKey;
use crate::security::redact;
use crate::security::signature::{SIGNATURE_HEADER, SignatureError};
use crate::storage::{RejectedRequest, sanitize_text};

/// Headers that are kept, besides `x-forwarded-…`: none of them holds a secret or a person.
const KEPT_HEADERS: [&str; 7] =
    ["content-type", "content-encoding", "content-length", "user-agent", "transfer-encoding", "host", "via"];
/// Headers kept at most.
const MAX_KEPT_HEADERS: usize = 24;
/// A longer signature header is not looked at whole.
const MAX_SIGNATURE_BYTES: usize = 512;
/// Headers in which other services sign.
const OTHER_SIGNATURE_HEADERS: [&str; 5] =
    ["webhook-signature", "svix-signature", "x-hub-signature-256", "stripe-signature", "x-signature"];

/// Whose address a request came to, and the keys that may have signed it.
#[derive(Clone, Default)]
pub(super) struct CompanyCandidateKeys {
    /// The company's slug; `None` for the plain address.
    pub(super) company_slug: Option<Arc<str>>,
    /// The keys it is checked with.
    pub(super) own_keys: Arc<[ApiKey]>,
    /// Those of other companies, with their slugs.
    pub(super) other_companies_keys: Arc<[(String, ApiKey)]>,
}

/// A refused request on its way to the diagnosis.
pub(super) struct PendingRejection {
    pub(super) candidate_keys: CompanyCandidateKeys,
    pub(super) reason: SignatureError,
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
    /// The company of the request, and all others as they are now.
    fn for_company(company: Option<&Arc<Company>>, companies: &CompanyDirectory) -> Self {
        let Some(company) = company else { return Self::default() };
        let keys = |company: &Company| company.verifier.as_ref().map(|verifier| Arc::clone(verifier.keys()));
        let named = |other: &Arc<Company>| {
            let keys: Vec<_> = keys(other)?.iter().map(|key| (other.slug.to_string(), key.clone())).collect();
            Some(keys)
        };
        let others = companies.iter().filter(|other| other.id != company.id).filter_map(named).flatten();
        Self {
            company_slug: Some(Arc::clone(&company.slug)),
            own_keys: keys(company).unwrap_or_default(),
            other_companies_keys: others.collect(),
        }
    }
}

impl PendingRejection {
    pub(super) fn from_request(refused: &SignatureRejection, companies: &CompanyDirectory) -> Self {
        let signatures: Vec<_> = refused.headers.get_all(SIGNATURE_HEADER).iter().take(2).collect();
        let signature = match signatures[..] {
            [only] => only.to_str().ok(),
            _ => None,
        };
        Self {
            candidate_keys: CompanyCandidateKeys::for_company(refused.company.as_ref(), companies),
            reason: refused.reason,
            client_ip: refused.client_ip,
            body: refused.body.clone(),
            received_at_ms: refused.received_at_ms,
            method: sanitize_text(Some(refused.method.to_string())).unwrap_or_default(),
            path: redact::path(refused.uri.path()),
            headers: select_headers(&refused.headers),
            signature: signature.map(|text| text[..text.floor_char_boundary(MAX_SIGNATURE_BYTES)].to_owned()),
            signature_ambiguous: !signatures.is_empty() && signature.is_none(),
            other_signature_header: OTHER_SIGNATURE_HEADERS
                .into_iter()
                .find(|name| refused.headers.contains_key(*name)),
        }
    }

    /// What happened, most specific first.
    pub(super) fn diagnose(&self, tolerance_ms: i64) -> Vec<Diagnosis> {
        let evidence = DiagnosisInput {
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
        diagnose(&evidence, keys, tolerance_ms, self.received_at_ms)
    }

    /// As the store keeps it; the body only when asked for.
    pub(super) fn into_rejection(self, diagnosis: String, keep_body: bool) -> RejectedRequest {
        let mut headers = self.headers;
        if self.signature_ambiguous {
            headers.insert(SIGNATURE_HEADER.into(), "(more than once, or no text)".into());
        } else if let Some(signature) = &self.signature {
            headers.insert(SIGNATURE_HEADER.into(), redact::signature(signature));
        }
        RejectedRequest {
            company: self.candidate_keys.company_slug.map(|slug| slug.to_string()),
            received_at_ms: self.received_at_ms,
            source: self.client_ip.map(|peer| peer.to_string()),
            method: self.method,
            path: self.path,
            headers,
            size_bytes: self.body.as_ref().map(|body| body.len() as u64),
            reason: self.reason.label().into(),
            diagnosis,
            body: self.body.filter(|_| keep_body),
        }
    }
}

fn select_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let kept = |name: &HeaderName| KEPT_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-");
    let text =
        |value: &HeaderValue| sanitize_text(value.to_str().ok().map(str::to_owned)).unwrap_or("(no text)".into());
    let kept = headers.iter().filter(|(name, _)| kept(name) && name.as_str().len() <= 64);
    kept.take(MAX_KEPT_HEADERS).map(|(name, value)| (name.to_string(), text(value))).collect()
}
