//! The key of an invocation: requests with the same key are the same invocation.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::payload::{self, FunctionPayload};
use super::registry::RegisteredFunction;
use crate::base::id::{CompanyId, random_hex};
use crate::config::IdempotencyMode;

pub(super) type InvocationKey = [u8; 32];

/// The key of a request. `payload` is `None` when the body could not be read, `signature` when the
/// request has no signature header, `query` when the body is empty: the query is then the arguments.
pub(super) fn for_request(
    entry: &RegisteredFunction,
    company_id: CompanyId,
    payload: Option<&FunctionPayload>,
    signature: Option<&str>,
    query: Option<&str>,
) -> InvocationKey {
    let company_id = company_id.get().to_le_bytes();
    let own_parts = match entry.settings.idempotency {
        IdempotencyMode::Call => own_parts(payload, signature, query),
        IdempotencyMode::None => vec![b"each".to_vec(), unique_part()],
    };
    let mut parts: Vec<&[u8]> = vec![&company_id, entry.settings.name.as_bytes()];
    parts.extend(own_parts.iter().map(Vec::as_slice));
    hash_parts(&parts)
}

/// The parts besides company and function. The first one keeps the forms distinct: a call id never equals a signature.
fn own_parts(payload: Option<&FunctionPayload>, signature: Option<&str>, query: Option<&str>) -> Vec<Vec<u8>> {
    let query_part = || payload::canonical_query(query).into_bytes();
    // Without a call, equal arguments can come from two callers. The same verified signature means the same
    // bytes, signed in the same millisecond: that is taken for one request. Without a signature no two requests are the same.
    let by_signature = || {
        let signature_part = signature.map_or_else(unique_part, |text| text.as_bytes().to_vec());
        vec![b"signature".to_vec(), signature_part, query_part()]
    };
    let Some(payload) = payload else { return by_signature() };
    match (&payload.tool_call_id, &payload.call_id) {
        // The model's own id. Arguments and query add nothing, and the transcript in the body may have grown meanwhile.
        (Some(tool_call_id), call_id) => {
            let call_id = call_id.as_deref().unwrap_or_default();
            vec![b"tool".to_vec(), call_id.as_bytes().to_vec(), tool_call_id.as_bytes().to_vec()]
        }
        (None, Some(call_id)) => {
            let arguments = canonical_json(&payload.arguments);
            vec![b"call".to_vec(), call_id.as_bytes().to_vec(), arguments.into_bytes(), query_part()]
        }
        (None, None) => by_signature(),
    }
}

/// A part that no other request has.
fn unique_part() -> Vec<u8> {
    random_hex().into_bytes()
}

/// Hashes the parts with their lengths, so that `ab`, `c` and `a`, `bc` have different hashes.
pub(super) fn hash_parts(parts: &[&[u8]]) -> InvocationKey {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The arguments as text that is the same for equal arguments in any order. Not meant to be parsed again.
fn canonical_json(arguments: &Map<String, Value>) -> String {
    let mut text = String::new();
    write_canonical_object(arguments, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => write_canonical_object(fields, text),
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

fn write_canonical_object(fields: &Map<String, Value>, text: &mut String) {
    let mut names: Vec<_> = fields.iter().collect();
    names.sort_unstable_by_key(|(name, _)| name.as_str());
    text.push('{');
    for (name, value) in names {
        text.push_str(&Value::String(name.clone()).to_string());
        text.push(':');
        write_canonical(value, text);
        text.push(',');
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_order_of_arguments_is_ignored() {
        let canonical = |text: &str| canonical_json(&serde_json::from_str(text).unwrap());
        assert_eq!(canonical(r#"{"b":[1,{"y":2,"x":1}],"a":"x"}"#), canonical(r#"{ "a":"x", "b":[1,{"x":1,"y":2}]}"#));
        assert_ne!(canonical(r#"{"b":[1,2]}"#), canonical(r#"{"b":[2,1]}"#));
        assert_ne!(hash_parts(&[b"ab", b"c"]), hash_parts(&[b"a", b"bc"]));
    }
}
