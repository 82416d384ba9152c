//! Decides when two requests are the same event. Pure functions.
//!
//! Equal bodies are one event, however often they are sent or signed again. The identity is a hash of the company and
//! the body, and not the HMAC, which changes with the key and the time. The store makes the hash, see
//! [`IdentityKey`](crate::storage::IdentityKey). Inbound requests without an id are the exception: two callers with a
//! withheld number send equal bodies, and each must get an answer to their own call. Their signature is the
//! discriminator.

use crate::event::EventIdentifiers;

/// The part of the identity besides company and body: the signature for an inbound request without a call or chat id,
/// `None` for every other request.
pub(super) fn dedupe_discriminator(signature: Option<&str>, head: Option<&EventIdentifiers>) -> Option<String> {
    let head = head?;
    // The signature contains the time in milliseconds: the same request sent again carries the same one, a second
    // caller another one. A retry that is signed anew counts as a second caller.
    let is_anonymous = head.kind().is_inbound() && head.call_id.is_none() && head.chat_id.is_none();
    if is_anonymous { signature.map(str::to_owned) } else { None }
}

/// Whether a different body with the same event name and call or chat is a revision of the first. True for events
/// that happen once per call or chat; a transfer or a transcript update is a new event each time.
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
    fn only_inbound_requests_without_an_id_have_a_discriminator() {
        let anonymous = r#"{"event":"call_inbound","call_inbound":{"from_number":"anonymous"}}"#;
        assert_eq!(discriminator(anonymous).as_deref(), Some("v=1,d=aa"));
        assert_eq!(discriminator(r#"{"event":"call_inbound","call_inbound":{"call_id":"call_1"}}"#), None);
        assert_eq!(discriminator(r#"{"event":"call_ended","call":{}}"#), None);
        assert_eq!(discriminator("not JSON"), None);
    }
}
