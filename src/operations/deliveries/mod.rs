//! Lists, shows and changes deliveries.

pub(crate) mod bulk_change;

use super::latency_stats::{latency_stats_view, run_rebuild};
use super::{ItemKind, OperationError, Principal, Progress, ProgressCallback};
use crate::base::escape::escape_text;
use crate::base::id::EventId;
use crate::storage::{
    AttemptOutcome, AttemptRecord, DeliveryAdmin, DeliveryFilter, DeliveryOutlook, DeliveryRow, DeliveryState,
    LatencyFilter, Position,
};
use crate::view::{
    AttemptOutcomeView, AttemptView, DeliveryDetailsView, DeliveryStateView, DeliveryView, LatencyStatsView,
    OutlookView, RebuiltStatsView, UndeliveredStateView,
};

/// A list of deliveries in progress, newest events first. It is read in pages, so that rows can be shown while the store is
/// searched for more.
pub(crate) struct DeliveryList {
    filter: DeliveryFilter,
    remaining: usize,
    before: Option<Position>,
    /// About the number of events to search, once a page has found none.
    total_events: Option<u64>,
    is_complete: bool,
}

impl DeliveryList {
    /// A list of at most `limit` deliveries that match the filter.
    pub(crate) fn new(_principal: &Principal, filter: DeliveryFilter, limit: usize) -> Self {
        Self { filter, remaining: limit, before: None, total_events: None, is_complete: false }
    }

    /// The next deliveries, which may be none; `None` at the end. Reports progress while none are found.
    pub(crate) async fn next_page(
        &mut self,
        store: &dyn DeliveryAdmin,
        progress: ProgressCallback<'_>,
    ) -> Result<Option<Vec<DeliveryView>>, OperationError> {
        if self.is_complete || self.remaining == 0 {
            return Ok(None);
        }
        let page = store.list_deliveries(self.filter.clone(), self.remaining, self.before).await?;
        self.remaining -= page.rows.len().min(self.remaining);
        if let (true, Some(next)) = (page.rows.is_empty(), page.next_before) {
            let left = next.distance(Position::START);
            let total = *self.total_events.get_or_insert(left);
            progress(Progress { step: "searched", done: total.saturating_sub(left), total });
        }
        self.before = page.next_before;
        self.is_complete = page.next_before.is_none();
        Ok(Some(page.rows.into_iter().map(delivery_view).collect()))
    }
}

/// Numbers and durations of attempts, by group.
pub(crate) async fn count_attempts(
    store: &dyn DeliveryAdmin,
    _principal: &Principal,
    filter: LatencyFilter,
) -> Result<LatencyStatsView, OperationError> {
    let groups = store.attempt_stats(filter.clone()).await?;
    Ok(latency_stats_view(&filter, groups))
}

/// Compares the totals behind the statistics of attempts with the stored attempts, and corrects them.
pub(crate) async fn rebuild_attempt_stats(
    store: &dyn DeliveryAdmin,
    principal: &Principal,
    progress: ProgressCallback<'_>,
) -> Result<RebuiltStatsView, OperationError> {
    tracing::info!(%principal, "rebuilding the statistics of attempts");
    run_rebuild(store.rebuild_attempt_totals().await?, progress).await
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
            let message = format!("no handler `{}` has run on this store", escape_text(handler));
            return Err(OperationError::not_found(ItemKind::Handler, message));
        }
    }
    Ok(outlooks.into_iter().map(outlook_view).collect())
}

/// See [`EventDetailsView::wanted`](crate::view::EventDetailsView).
pub(super) fn is_wanted(outlooks: &[OutlookView]) -> Option<bool> {
    // Without a handler nothing has decided yet.
    let mut is_decided = !outlooks.is_empty();
    for outlook in outlooks {
        match outlook {
            OutlookView::Delivery(_) => return Some(true),
            OutlookView::Undelivered { state, .. } => match state {
                UndeliveredStateView::Filtered | UndeliveredStateView::BeforeHandler => {}
                UndeliveredStateView::Unplanned | UndeliveredStateView::Removed => is_decided = false,
            },
        }
    }
    is_decided.then_some(false)
}

fn delivery_view(row: DeliveryRow) -> DeliveryView {
    DeliveryView {
        event_id: row.event_id.to_string(),
        event: row.event_kind,
        call_id: row.call_id,
        handler: row.handler,
        state: state_view(row.state),
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
    let undelivered = |state| OutlookView::Undelivered { handler, state };
    match outlook {
        DeliveryOutlook::Delivery(row, attempts) => OutlookView::Delivery(Box::new(DeliveryDetailsView {
            delivery: delivery_view(row),
            attempt_records: attempts.into_iter().map(attempt_view).collect(),
        })),
        DeliveryOutlook::Filtered => undelivered(UndeliveredStateView::Filtered),
        DeliveryOutlook::BeforeHandler => undelivered(UndeliveredStateView::BeforeHandler),
        DeliveryOutlook::Unplanned => undelivered(UndeliveredStateView::Unplanned),
        DeliveryOutlook::Removed => undelivered(UndeliveredStateView::Removed),
    }
}

fn state_view(state: DeliveryState) -> DeliveryStateView {
    match state {
        DeliveryState::Pending => DeliveryStateView::Pending,
        DeliveryState::Running => DeliveryStateView::Running,
        DeliveryState::Scheduled => DeliveryStateView::Scheduled,
        DeliveryState::Succeeded => DeliveryStateView::Succeeded,
        DeliveryState::Dead => DeliveryStateView::Dead,
        DeliveryState::Skipped => DeliveryStateView::Skipped,
    }
}

fn attempt_view(record: AttemptRecord) -> AttemptView {
    let AttemptRecord { attempt, started_at_ms, duration_ms, outcome, status, error, answer } = record;
    let outcome = match outcome {
        AttemptOutcome::Done => AttemptOutcomeView::Done,
        AttemptOutcome::Retry => AttemptOutcomeView::Retry,
        AttemptOutcome::Fail => AttemptOutcomeView::Fail,
    };
    AttemptView { attempt, started_at_ms, duration_ms, outcome, status, error, answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_names_of_the_store() {
        for state in DeliveryState::ALL {
            assert_eq!(state_view(state).as_str(), state.as_str());
            assert_eq!(serde_json::to_value(state_view(state)).unwrap(), state.as_str());
        }
    }

    #[test]
    fn an_event_is_unwanted_when_every_handler_has_decided() {
        let undelivered = |state| OutlookView::Undelivered { handler: "crm".to_owned(), state };
        assert_eq!(is_wanted(&[]), None);
        assert_eq!(is_wanted(&[undelivered(UndeliveredStateView::Filtered)]), Some(false));
        let undecided = [UndeliveredStateView::BeforeHandler, UndeliveredStateView::Removed].map(undelivered);
        assert_eq!(is_wanted(&undecided), None);
        assert_eq!(is_wanted(&[undelivered(UndeliveredStateView::Unplanned)]), None);
    }
}
