//! Events that were received before, as `events export` writes them, on their way into a store again.

use bytes::Bytes;

use super::dedupe;
use crate::base::id::EventId;
use crate::event::Head;
use crate::storage::{NewEvent, bounded};

/// What an export tells of an event.
pub struct Past {
    /// Whose it is.
    pub company_id: i64,
    /// When it was received, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The signature header.
    pub signature: Option<String>,
    /// Which key made the signature, as far as it is known here.
    pub key_fingerprint: Option<String>,
    /// The raw bytes.
    pub body: Bytes,
}

impl Past {
    /// The event as it would be accepted, under `id`: what is known already is a duplicate here too. Nobody vouches for it
    /// but whoever imports it.
    #[must_use]
    pub fn into_event(self, id: EventId) -> NewEvent {
        let head = Head::scan(&self.body).ok();
        let told_apart_by = dedupe::told_apart_by(self.signature.as_deref(), head.as_ref());
        let revisable = head.as_ref().is_some_and(dedupe::is_revisable);
        let unparsed = head.is_none();
        let head = head.unwrap_or_default();
        NewEvent {
            event: bounded(head.event),
            call_id: bounded(head.call_id.or(head.chat_id)),
            agent_id: bounded(head.agent_id),
            told_apart_by,
            revisable,
            unparsed,
            content_type: bounded(self.content_type),
            signature: bounded(self.signature),
            key_fingerprint: self.key_fingerprint,
            ..NewEvent::new(id, self.company_id, self.received_at_ms, self.body)
        }
    }
}
