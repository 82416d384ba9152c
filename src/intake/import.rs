//! Events that were received before, as `events export` writes them, on their way into a store again.

use bytes::Bytes;

use super::dedupe;
use crate::base::id::EventId;
use crate::event::EventIdentifiers;
use crate::storage::{NewEvent, sanitize_text};

/// What an export tells of an event.
pub(crate) struct ImportedEvent {
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

impl ImportedEvent {
    /// The event as it would be accepted, under `id`: what is known already is a duplicate here too. Nobody vouches for it
    /// but whoever imports it.
    #[must_use]
    pub(crate) fn into_new_event(self, id: EventId) -> NewEvent {
        let head = EventIdentifiers::scan(&self.body).ok();
        let told_apart_by = dedupe::dedupe_discriminator(self.signature.as_deref(), head.as_ref());
        let revisable = head.as_ref().is_some_and(dedupe::is_revisable);
        let unparsed = head.is_none();
        let head = head.unwrap_or_default();
        NewEvent {
            kind: sanitize_text(head.event_name),
            call_id: sanitize_text(head.call_id.or(head.chat_id)),
            agent_id: sanitize_text(head.agent_id),
            dedupe_discriminator: told_apart_by,
            revisable,
            unparsed,
            content_type: sanitize_text(self.content_type),
            signature: sanitize_text(self.signature),
            key_fingerprint: self.key_fingerprint,
            ..NewEvent::new(id, self.company_id, self.received_at_ms, self.body)
        }
    }
}
