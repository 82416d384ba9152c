//! A refused request, reduced to what may be looked at later.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use crate::http::company::{Companies, Company};
use crate::http::layer::Refused;
use crate::security::diagnose::{Evidence, Keys, diagnose};
use crate::security::finding::Finding;
use crate::security::keys::ApiKey;
use crate::security::redact;
use crate::security::signature::{Refusal, SIGNATURE_HEADER};
use crate::storage::{Rejection, bounded};

/// Headers that are kept, besides `x-forwarded-…`: none of them holds a secret or a person.
const KEPT: [&str; 7] =
    ["content-type", "content-encoding", "content-length", "user-agent", "transfer-encoding", "host", "via"];
/// Headers kept at most.
const MOST_HEADERS: usize = 24;
/// A longer signature header is not looked at whole.
const LONGEST_SIGNATURE: usize = 512;
/// Headers in which other services sign.
const OTHER_SERVICES: [&str; 5] =
    ["webhook-signature", "svix-signature", "x-hub-signature-256", "stripe-signature", "x-signature"];

/// Whose address a request came to, and the keys that may have signed it.
#[derive(Clone, Default)]
pub(super) struct Whose {
    /// The company's slug; `None` for the plain address.
    pub(super) company: Option<Arc<str>>,
    /// The keys it is checked with.
    pub(super) own: Arc<[ApiKey]>,
    /// Those of other companies, with their slugs.
    pub(super) others: Arc<[(String, ApiKey)]>,
}

/// A refused request on its way to the diagnosis.
pub(super) struct Case {
    pub(super) whose: Whose,
    pub(super) reason: Refusal,
    pub(super) peer: Option<IpAddr>,
    pub(super) body: Option<Bytes>,
    pub(super) received_at_ms: i64,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    signature: Option<String>,
    repeated: bool,
    other_header: Option<&'static str>,
}

impl Whose {
    /// The company of the request, and all others as they are now.
    fn of(company: Option<&Arc<Company>>, companies: &Companies) -> Self {
        let Some(company) = company else { return Self::default() };
        let keys = |company: &Company| company.verifier.as_ref().map(|verifier| Arc::clone(verifier.keys()));
        let named = |other: &Arc<Company>| {
            let keys: Vec<_> = keys(other)?.iter().map(|key| (other.slug.to_string(), key.clone())).collect();
            Some(keys)
        };
        let others = companies.iter().filter(|other| other.id != company.id).filter_map(named).flatten();
        Self {
            company: Some(Arc::clone(&company.slug)),
            own: keys(company).unwrap_or_default(),
            others: others.collect(),
        }
    }
}

impl Case {
    pub(super) fn of(refused: &Refused, companies: &Companies) -> Self {
        let signatures: Vec<_> = refused.headers.get_all(SIGNATURE_HEADER).iter().take(2).collect();
        let signature = match signatures[..] {
            [only] => only.to_str().ok(),
            _ => None,
        };
        Self {
            whose: Whose::of(refused.company.as_ref(), companies),
            reason: refused.reason,
            peer: refused.peer,
            body: refused.body.clone(),
            received_at_ms: refused.received_at_ms,
            method: bounded(Some(refused.method.to_string())).unwrap_or_default(),
            path: redact::path(refused.uri.path()),
            headers: kept_headers(&refused.headers),
            signature: signature.map(|text| text[..text.floor_char_boundary(LONGEST_SIGNATURE)].to_owned()),
            repeated: !signatures.is_empty() && signature.is_none(),
            other_header: OTHER_SERVICES.into_iter().find(|name| refused.headers.contains_key(*name)),
        }
    }

    /// What happened, most specific first.
    pub(super) fn diagnose(&self, window_ms: i64) -> Vec<Finding> {
        let evidence = Evidence {
            body: self.body.as_deref(),
            header: self.signature.as_deref(),
            repeated: self.repeated,
            other_header: self.other_header,
            content_encoding: self.headers.get("content-encoding").map(String::as_str),
            content_type: self.headers.get("content-type").map(String::as_str),
        };
        let keys = Keys { own: &self.whose.own, others: &self.whose.others };
        diagnose(&evidence, keys, window_ms, self.received_at_ms)
    }

    /// As the store keeps it; the body only when asked for.
    pub(super) fn into_rejection(self, diagnosis: String, keep_body: bool) -> Rejection {
        let mut headers = self.headers;
        if self.repeated {
            headers.insert(SIGNATURE_HEADER.into(), "(more than once, or no text)".into());
        } else if let Some(signature) = &self.signature {
            headers.insert(SIGNATURE_HEADER.into(), redact::signature(signature));
        }
        Rejection {
            company: self.whose.company.map(|slug| slug.to_string()),
            received_at_ms: self.received_at_ms,
            source: self.peer.map(|peer| peer.to_string()),
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

fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let kept = |name: &HeaderName| KEPT.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded-");
    let text = |value: &HeaderValue| bounded(value.to_str().ok().map(str::to_owned)).unwrap_or("(no text)".into());
    let kept = headers.iter().filter(|(name, _)| kept(name) && name.as_str().len() <= 64);
    kept.take(MOST_HEADERS).map(|(name, value)| (name.to_string(), text(value))).collect()
}
