//! When two requests carry the same event. Pure.
//!
//! An identical body is one event, however often it is sent or signed again: identity is a hash of the company and the
//! body, never the HMAC, which changes with the key and the time. The store makes the hash, see
//! [`IdentityKey`](crate::storage::IdentityKey). Inbound requests are about a caller on the line now: they are told apart
//! by the id in their body when there is one, and by their signature when there is none, because two callers from a
//! withheld number send equal bodies.

use crate::event::EventIdentifiers;

/// What besides company and body makes a request with this signature an event of its own.
pub(super) fn dedupe_discriminator(signature: Option<&str>, head: Option<&EventIdentifiers>) -> Option<String> {
    let head = head?;
    let anonymous = head.kind().is_inbound() && head.call_id.is_none() && head.chat_id.is_none();
    signature.filter(|_| anonymous).map(str::to_owned)
}

/// Whether a second body for the same name and call or chat revises the first. Transfers and transcripts happen many
/// times in a call.
pub(super) fn is_revisable(head: &EventIdentifiers) -> bool {
    head.kind().is_lifecycle()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discriminator(body: &str) -> Option<String> {
        dedupe_discriminator(Some("v=1,d=aa"), EventIdentifiers::scan(body.as_bytes()).ok().as_ref())
    }

    #[test]
    fn only_inbound_requests_without_an_id_are_told_apart_by_their_signature() {
        let anonymous = r#"{"event":"call_inbound","call_inbound":{"from_number":"anonymous"}}"#;
        assert_eq!(discriminator(anonymous).as_deref(), Some("v=1,d=aa"));
        assert_eq!(discriminator(r#"{"event":"call_inbound","call_inbound":{"call_id":"call_1"}}"#), None);
        assert_eq!(discriminator(r#"{"event":"call_ended","call":{}}"#), None);
        assert_eq!(discriminator("not JSON"), None);
    }
}
