//! When two requests carry the same event. Pure.
//!
//! An identical body is one event, however often it is sent or signed again: identity is a hash of the company and the
//! body (BLAKE3: a second pass of SHA-256 over a large body would cost as much as the signature), never the HMAC, which changes with the key and the time. Inbound requests are about a caller on the line now:
//! they are told apart by the id in their body when there is one, and by their signature when there is none, because
//! two callers from a withheld number send equal bodies.

use crate::event::Head;
use crate::http::RawEvent;
use crate::storage::Identity;

/// What makes `raw` the same as another request.
pub(super) fn identity(company_id: i64, raw: &RawEvent, head: Option<&Head>) -> Identity {
    let mut hash = blake3::Hasher::new();
    hash.update(&company_id.to_be_bytes());
    if head.is_some_and(is_anonymous_inbound) {
        // Its length in front keeps (signature, body) pairs apart, and marks the other kind of identity with zero.
        let signature = raw.signature.as_deref().unwrap_or_default();
        hash.update(&(signature.len() as u64).to_be_bytes());
        hash.update(signature.as_bytes());
    } else {
        hash.update(&0_u64.to_be_bytes());
    }
    hash.update(&raw.body);
    let mut identity = [0; 16];
    hash.finalize_xof().fill(&mut identity);
    Identity(identity)
}

fn is_anonymous_inbound(head: &Head) -> bool {
    head.kind().is_inbound() && head.call_id.is_none() && head.chat_id.is_none()
}

/// Whether a second body for the same name and call or chat revises the first. Transfers and transcripts happen many
/// times in a call.
pub(super) fn is_revisable(head: &Head) -> bool {
    head.kind().is_lifecycle()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::RawEvent;

    fn identity_of(company_id: i64, body: &str, signature: &str) -> Identity {
        let raw = RawEvent::for_tests(Bytes::copy_from_slice(body.as_bytes()), signature);
        identity(company_id, &raw, Head::scan(body.as_bytes()).ok().as_ref())
    }

    #[test]
    fn the_body_and_the_company_decide() {
        let body = r#"{"event":"call_ended","call":{"call_id":"call_1"}}"#;
        let first = identity_of(1, body, "v=1,d=aa");
        assert_eq!(first, identity_of(1, body, "v=2,d=bb"));
        assert_ne!(first, identity_of(2, body, "v=1,d=aa"));
        assert_ne!(first, identity_of(1, &format!("{body} "), "v=1,d=aa"));
    }

    #[test]
    fn inbound_calls_without_an_id_are_told_apart_by_their_signature() {
        let anonymous = r#"{"event":"call_inbound","call_inbound":{"from_number":"anonymous"}}"#;
        assert_ne!(identity_of(1, anonymous, "v=1,d=aa"), identity_of(1, anonymous, "v=2,d=bb"));
        assert_eq!(identity_of(1, anonymous, "v=1,d=aa"), identity_of(1, anonymous, "v=1,d=aa"));
        let named = r#"{"event":"call_inbound","call_inbound":{"call_id":"call_1"}}"#;
        assert_eq!(identity_of(1, named, "v=1,d=aa"), identity_of(1, named, "v=2,d=bb"));
    }
}
