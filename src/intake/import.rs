//! Events from a file that `events export` wrote, to be stored again.

use bytes::Bytes;

use super::dedupe;
use crate::base::id::{CompanyId, EventId};
use crate::event::EventIdentifiers;
use crate::storage::{EventOrigin, NewEvent, sanitize_text};

/// One event of an export.
pub(crate) struct ImportedEvent {
    pub company_id: CompanyId,
    /// When it was first received, in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
    pub content_type: Option<String>,
    pub signature: Option<String>,
    /// The key that made the signature; `None` when this receiver does not know it.
    pub key_fingerprint: Option<String>,
    /// The body exactly as it was received.
    pub body: Bytes,
}

impl ImportedEvent {
    /// The event with the identity that [`Intake::accept`](super::Intake::accept) would have given it, under `id` and
    /// without source address and query, so that an event that the store has already is a duplicate. The signature is not verified again: the operator who imports the file
    /// vouches for it.
    #[must_use]
    pub(crate) fn into_new_event(self, id: EventId) -> NewEvent {
        let head = EventIdentifiers::scan(&self.body).ok();
        let dedupe_discriminator = dedupe::dedupe_discriminator(self.signature.as_deref(), head.as_ref());
        let revisable = head.as_ref().is_some_and(dedupe::is_revisable);
        let unparsed = head.is_none();
        let head = head.unwrap_or_default();
        NewEvent {
            kind: sanitize_text(head.event_name),
            call_id: sanitize_text(head.call_id.or(head.chat_id)),
            agent_id: sanitize_text(head.agent_id),
            dedupe_discriminator,
            revisable,
            unparsed,
            content_type: sanitize_text(self.content_type),
            signature: sanitize_text(self.signature),
            key_fingerprint: self.key_fingerprint,
            origin: EventOrigin::Import,
            ..NewEvent::new(id, self.company_id, self.received_at_ms, self.body)
        }
    }
}
