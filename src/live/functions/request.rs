//! First stage of a request for a function: reads an HTTP request into an [`Invocation`].

use std::sync::Arc;

use axum::http::{HeaderMap, Method};

use super::invocation::{Invocation, OriginalRequest};
use super::invocation_key::hash_parts;
use super::payload::{self, FunctionPayload};
use super::registry::{FunctionRegistry, RegisteredFunction};
use crate::http::{RawEvent, Verified};
use crate::storage::SignatureUse;
use crate::tenants::Company;

/// A verified request for a function, from any of the routes. Its body is not that of an event, see `live/routes.rs`.
pub(crate) struct FunctionRequest {
    pub method: Method,
    /// The function's name in the path; `None` on the route where only the body names it.
    pub name: Option<String>,
    pub headers: HeaderMap,
    pub company: Arc<Company>,
    pub raw_event: Verified<RawEvent>,
}

/// Why a request starts no invocation.
pub(super) enum UnusableRequest {
    /// The company has no function of this name, or the request names none.
    UnknownFunction(String),
    /// The methods of the function, as in `Allow`.
    MethodNotAllowed(String),
}

impl FunctionRequest {
    pub(super) fn parse(self, registry: &FunctionRegistry) -> Result<Invocation, UnusableRequest> {
        let raw = self.raw_event.into_inner();
        let payload = payload::parse(&raw.body, raw.query.as_deref(), None);
        let name_in_body = || payload.as_ref().ok().and_then(|payload| payload.name.clone());
        let name = self.name.or_else(name_in_body).unwrap_or_default();
        let Some(entry) = registry.find(&name, &self.company.slug) else {
            return Err(UnusableRequest::UnknownFunction(name));
        };
        if !entry.settings.methods.iter().any(|method| method == self.method.as_str()) {
            return Err(UnusableRequest::MethodNotAllowed(entry.settings.methods.join(",")));
        }
        // Which header holds the call id is a setting of the function, which had to be found first. With bare arguments
        // the header takes precedence over the query. An envelope uses its own call id, then the query, then the header.
        let call_id_header = self.headers.get(&entry.settings.call_id_header).and_then(|value| value.to_str().ok());
        let payload = match (payload, call_id_header) {
            (Ok(payload), Some(_)) if payload.call_id.is_none() || payload.name.is_none() => {
                payload::parse(&raw.body, raw.query.as_deref(), call_id_header)
            }
            (payload, _) => payload,
        };
        Ok(new_invocation(entry, &self.company, raw, payload, &self.method))
    }
}

fn new_invocation(
    entry: &Arc<RegisteredFunction>,
    company: &Arc<Company>,
    raw: RawEvent,
    mut payload: Result<FunctionPayload, String>,
    method: &Method,
) -> Invocation {
    let has_body = !raw.body.is_empty();
    if let Ok(payload) = &mut payload {
        if !has_body {
            entry.schema.coerce_query_values(&mut payload.arguments);
        }
        // Only here, after the payload was parsed: the tool call id is found by comparing the arguments as the model
        // sent them, nulls included.
        entry.schema.remove_optional_nulls(&mut payload.arguments);
    }
    let signature_use = signature_use(entry, company, &raw, payload.as_ref().ok(), method);
    let original = OriginalRequest {
        body: raw.body,
        // Without a body the query is the arguments, which are part of the key already.
        query: raw.query.filter(|query| has_body && !query.is_empty()),
        signature: raw.signature,
        signature_use,
    };
    Invocation::new(entry, company, payload, original, raw.received_instant, raw.received_at_ms)
}

/// The request's signature, with a hash of what it may be used for. `None` when verification is off.
///
/// Retell's signature covers the body only. It is bound to what it does not cover, so that a captured request cannot be
/// replayed against another function, method or company.
fn signature_use(
    entry: &RegisteredFunction,
    company: &Company,
    raw: &RawEvent,
    payload: Option<&FunctionPayload>,
    method: &Method,
) -> Option<SignatureUse> {
    let signature = raw.signature.as_ref()?;
    raw.key_fingerprint.as_ref()?;
    // Call id and query are part of the purpose only where a replay with others would do harm: an empty body signs
    // nothing else, and a function that checks its own arguments books appointments. In general they must stay out,
    // because two calls that send equal bodies in the same millisecond get the same signature.
    let is_bound_to_call = raw.body.is_empty() || entry.policy.checks_arguments;
    let mut call_id = "";
    let mut query = "";
    if is_bound_to_call {
        call_id = payload.and_then(|payload| payload.call_id.as_deref()).unwrap_or_default();
        query = raw.query.as_deref().unwrap_or_default();
    }
    let purpose_hash = hash_parts(&[
        &company.id.get().to_le_bytes(),
        entry.settings.name.as_bytes(),
        method.as_str().as_bytes(),
        call_id.as_bytes(),
        query.as_bytes(),
    ]);
    Some(SignatureUse {
        signature_hash: hash_parts(&[signature.as_bytes()]),
        purpose_hash,
        seen_at_ms: raw.received_at_ms,
    })
}
