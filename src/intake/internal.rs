//! Events that the receiver makes itself: alarms and appointments. They go through the journal like any other event,
//! so they are durable, delivered and retried.

use serde_json::Value;

use crate::base::id::{CompanyId, EventId};
use crate::event::EventIdentifiers;
use crate::storage::{EventOrigin, NewEvent, sanitize_text};

/// An internal event to be stored. Only handlers whose filter names it get it, see [`Filter`](crate::handlers::Filter).
#[derive(Clone, Debug)]
pub(crate) struct InternalEvent {
    pub company_id: CompanyId,
    /// When it happened, in milliseconds since the Unix epoch.
    pub occurred_at_ms: i64,
    /// A JSON object with the name under `event`, and the ids of call and agent in the same places as in Retell's
    /// events.
    pub body: Value,
}

impl InternalEvent {
    /// The event as it is stored: without a sender's address and without a signature.
    #[must_use]
    pub(crate) fn into_new_event(self, id: EventId) -> NewEvent {
        let body = self.body.to_string();
        let head = EventIdentifiers::scan(body.as_bytes()).unwrap_or_default();
        NewEvent {
            kind: sanitize_text(head.event_name),
            call_id: sanitize_text(head.call_id.or(head.chat_id)),
            agent_id: sanitize_text(head.agent_id),
            content_type: Some("application/json".to_owned()),
            origin: EventOrigin::Internal,
            ..NewEvent::new(id, self.company_id, self.occurred_at_ms, body)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::id::EventIdGenerator;

    #[test]
    fn name_and_ids_are_read_from_the_body() {
        let body = json!({"event": "thing_booked", "call": {"call_id": "call_1", "agent_id": "agent_1"}});
        let event = InternalEvent { company_id: CompanyId::new(3), occurred_at_ms: 7, body }
            .into_new_event(EventIdGenerator::default().next_id(7));
        let identifiers = (event.kind.as_deref(), event.call_id.as_deref(), event.agent_id.as_deref());
        assert_eq!(identifiers, (Some("thing_booked"), Some("call_1"), Some("agent_1")));
        assert_eq!((event.company_id, event.received_at_ms), (CompanyId::new(3), 7));
        assert_eq!((event.origin, event.key_fingerprint), (EventOrigin::Internal, None));
    }
}
