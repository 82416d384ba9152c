//! Lists, shows and changes deliveries.

pub(crate) mod bulk_change;

use super::text::sanitize;
use super::{ItemKind, OperationError, Principal};
use crate::base::id::EventId;
use crate::storage::{AttemptRecord, DeliveryAdmin, DeliveryFilter, DeliveryOutlook, DeliveryRow, DeliveryState};
use crate::view::{AttemptView, DeliveryDetailsView, DeliveryView, OutlookView};

/// At most `limit` deliveries that match the filter, newest events first.
pub(crate) async fn list_deliveries(
    store: &dyn DeliveryAdmin,
    _principal: &Principal,
    filter: DeliveryFilter,
    limit: usize,
) -> Result<Vec<DeliveryView>, OperationError> {
    Ok(store.list_deliveries(filter, limit).await?.into_iter().map(delivery_view).collect())
}

/// The outcome of an event at every handler, or only at `handler`; [`OperationError::NotFound`] when that handler has
/// never run.
pub(crate) async fn show_deliveries(
    store: &(impl DeliveryAdmin + ?Sized),
    _principal: &Principal,
    id: EventId,
    handler: Option<&str>,
) -> Result<Vec<OutlookView>, OperationError> {
    let mut outlooks = store.delivery_outlooks(id).await?;
    if let Some(handler) = handler {
        outlooks.retain(|(name, _)| name == handler);
        if outlooks.is_empty() {
            let message = format!("no handler `{}` has run on this store", sanitize(handler));
            return Err(OperationError::not_found(ItemKind::Handler, message));
        }
    }
    Ok(outlooks.into_iter().map(outlook_view).collect())
}

/// See [`EventDetailsView::wanted`](crate::view::EventDetailsView).
pub(super) fn is_wanted(outlooks: &[OutlookView]) -> Option<bool> {
    let mut undelivered_states = Vec::new();
    for outlook in outlooks {
        match outlook {
            OutlookView::Delivery(_) => return Some(true),
            OutlookView::Undelivered { state, .. } => undelivered_states.push(*state),
        }
    }
    let is_undecided = |state: &&str| {
        [&DeliveryOutlook::Unplanned, &DeliveryOutlook::Removed].iter().any(|undecided| undecided.as_str() == *state)
    };
    if undelivered_states.is_empty() || undelivered_states.iter().any(is_undecided) {
        return None;
    }
    Some(false)
}

fn delivery_view(row: DeliveryRow) -> DeliveryView {
    DeliveryView {
        event_id: row.event_id.to_string(),
        event: row.event_kind,
        call_id: row.call_id,
        handler: row.handler,
        state: row.state.as_str(),
        attempts: row.attempts,
        // While an attempt runs, the stored time is the end of its lease.
        next_attempt_at_ms: row.due_ms.filter(|_| row.state != DeliveryState::Running),
        queued_at_ms: row.queued_at_ms,
        updated_at_ms: row.updated_ms,
        reason: row.reason,
        replay: row.is_replay,
    }
}

fn outlook_view((handler, outlook): (String, DeliveryOutlook)) -> OutlookView {
    let state = outlook.as_str();
    match outlook {
        DeliveryOutlook::Delivery(row, attempts) => OutlookView::Delivery(Box::new(DeliveryDetailsView {
            delivery: delivery_view(row),
            attempt_records: attempts.into_iter().map(attempt_view).collect(),
        })),
        _ => OutlookView::Undelivered { handler, state },
    }
}

fn attempt_view(record: AttemptRecord) -> AttemptView {
    let AttemptRecord { attempt, started_at_ms, duration_ms, outcome, status, error, answer } = record;
    AttemptView { attempt, started_at_ms, duration_ms, outcome: outcome.as_str(), status, error, answer }
}
