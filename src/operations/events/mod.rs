//! Lists, shows, exports and follows stored events.

mod export;
mod followed_store;
mod tail;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{ItemKind, OperationError, Principal, deliveries};
use crate::base::id::EventId;
use crate::storage::{
    DeliveryAdmin, EventFilter, EventOrigin, EventState, EventSummary, InboundAnswerRecord, InboundAnswerStore,
    Journal, StoredEvent,
};
use crate::view::{EventDetailsView, EventOriginView, EventStateView, EventView, StoredInboundAnswerView};
pub(crate) use export::EventExport;
pub(crate) use tail::{EventTail, TailFilter, TailNotice, TailOutput, TailStart};

/// Events that match the filter, newest first.
pub(crate) async fn list_events(
    store: &dyn Journal,
    _principal: &Principal,
    filter: EventFilter,
) -> Result<Vec<EventView>, OperationError> {
    Ok(store.list_events(filter).await?.iter().map(event_view).collect())
}

/// One event and what handlers made of it; [`OperationError::NotFound`] when none has the id.
pub(crate) async fn show_event<S>(
    store: &S,
    principal: &Principal,
    id: EventId,
) -> Result<EventDetailsView, OperationError>
where
    S: Journal + DeliveryAdmin + InboundAnswerStore + ?Sized,
{
    let event = find_event(store, id).await?;
    let deliveries = deliveries::show_deliveries(store, principal, id, None).await?;
    let inbound_answer = store.get_inbound_answer(id).await?.map(inbound_answer_view);
    let wanted = deliveries::is_wanted(&deliveries);
    let body_error = event.body.err().map(|error| error.reason);
    Ok(EventDetailsView { event: event_view(&event.summary), inbound_answer, body_error, deliveries, wanted })
}

/// The body of an event as it was received.
pub(crate) async fn event_body(
    store: &dyn Journal,
    _principal: &Principal,
    id: EventId,
) -> Result<Bytes, OperationError> {
    let body = find_event(store, id).await?.body;
    body.map_err(|error| OperationError::not_found(ItemKind::Body, format!("event {id}: {error}")))
}

async fn find_event(store: &(impl Journal + ?Sized), id: EventId) -> Result<StoredEvent, OperationError> {
    let event = store.get_event(id).await?;
    event.ok_or_else(|| OperationError::not_found(ItemKind::Event, format!("no event has the id {id}")))
}

pub(super) fn event_view(event: &EventSummary) -> EventView {
    let event = event.clone();
    EventView {
        id: event.id.to_string(),
        company: event.company,
        event: event.kind,
        call_id: event.call_id,
        agent_id: event.agent_id,
        received_at_ms: event.received_at_ms,
        source: event.source,
        content_type: event.content_type,
        query: event.query,
        key_fingerprint: event.key_fingerprint,
        origin: match event.origin {
            EventOrigin::Retell => EventOriginView::Retell,
            EventOrigin::Internal => EventOriginView::Internal,
            EventOrigin::Import => EventOriginView::Import,
            EventOrigin::Backfill => EventOriginView::Backfill,
        },
        state: match event.state {
            EventState::Stored => EventStateView::Stored,
            EventState::Unparsed => EventStateView::Unparsed,
        },
        revision_of: event.revision_of.map(|id| id.to_string()),
        duplicates: event.duplicate_count,
        size_bytes: event.size_bytes,
    }
}

fn inbound_answer_view(answered: InboundAnswerRecord) -> StoredInboundAnswerView {
    StoredInboundAnswerView {
        rule: answered.rule,
        outcome: answered.outcome,
        answer: RawValue::from_string(answered.answer).ok(),
        duration_ms: answered.duration_ms,
        answered_at_ms: answered.answered_at_ms,
    }
}
