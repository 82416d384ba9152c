//! Lists, shows and changes deliveries.

pub(crate) mod bulk_change;

use std::time::Duration;

use tokio::time::Instant;

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

/// When a list ends although the store has older events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SearchLimit {
    /// When nothing is found for a short time. Two values of the filter may both be frequent and hardly ever meet.
    Time(Duration),
    Unlimited,
}

/// A list of deliveries in progress, newest events first. It is read in pages, so that rows can be shown while the store is
/// searched for more.
pub(crate) struct DeliveryList {
    filter: DeliveryFilter,
    remaining: usize,
    search_limit: SearchLimit,
    /// Time spent since a delivery was found.
    search_time: Duration,
    before: Option<Position>,
    /// About the number of events to search, once a page has found none.
    total_events: Option<u64>,
    is_complete: bool,
}

impl DeliveryList {
    /// A list of at most `limit` deliveries that match the filter.
    pub(crate) fn new(_principal: &Principal, filter: DeliveryFilter, limit: usize, search_limit: SearchLimit) -> Self {
        Self {
            filter,
            remaining: limit,
            search_limit,
            search_time: Duration::ZERO,
            before: None,
            total_events: None,
            is_complete: false,
        }
    }

    /// The next deliveries, which may be none; `None` at the end. Reports progress while none are found.
    pub(crate) async fn next_page(
        &mut self,
        store: &dyn DeliveryAdmin,
        progress: ProgressCallback<'_>,
    ) -> Result<Option<Vec<DeliveryView>>, OperationError> {
        if self.is_complete || self.remaining == 0 || self.is_out_of_time() {
            return Ok(None);
        }
        let began = Instant::now();
        let page = store.list_deliveries(self.filter.clone(), self.remaining, self.before).await?;
        self.search_time = if page.rows.is_empty() { self.search_time + began.elapsed() } else { Duration::ZERO };
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

    fn is_out_of_time(&self) -> bool {
        match self.search_limit {
            SearchLimit::Time(limit) => self.before.is_some() && self.search_time >= limit,
            SearchLimit::Unlimited => false,
        }
    }

    /// About the number of older events that were not searched, after the list has ended for want of time.
    pub(crate) fn unsearched_events(&self) -> Option<u64> {
        let before = self.before.filter(|_| self.remaining > 0)?;
        Some(before.distance(Position::START))
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
    use async_trait::async_trait;

    use super::*;
    use crate::storage::{DeliveryPage, DeliverySelection, HandlerBacklog, LatencyGroups, StoreError, TotalsRebuild};

    /// Ten events, of which each page visits one; the seventh has the only delivery.
    struct OneEventPerPage;

    #[async_trait]
    impl DeliveryAdmin for OneEventPerPage {
        async fn list_deliveries(
            &self,
            _: DeliveryFilter,
            _: usize,
            before: Option<Position>,
        ) -> Result<DeliveryPage, StoreError> {
            let visited = before.map_or(10, |before| before.distance(Position::START));
            let row = DeliveryRow {
                event_id: EventId::from_bytes([0; 16]),
                event_kind: None,
                call_id: None,
                handler: "crm".to_owned(),
                state: DeliveryState::Dead,
                attempts: 1,
                due_ms: None,
                queued_at_ms: 0,
                updated_ms: 0,
                reason: None,
                is_replay: false,
            };
            let rows = if visited == 7 { vec![row] } else { Vec::new() };
            let next_before = (visited > 1).then(|| format!("pos_{}", visited - 1).parse().unwrap());
            Ok(DeliveryPage { rows, next_before })
        }

        async fn delivery_outlooks(&self, _: EventId) -> Result<Vec<(String, DeliveryOutlook)>, StoreError> {
            unimplemented!()
        }

        async fn list_backlogs(&self, _: usize, _: i64) -> Result<Vec<HandlerBacklog>, StoreError> {
            unimplemented!()
        }

        async fn attempt_stats(&self, _: LatencyFilter) -> Result<LatencyGroups, StoreError> {
            unimplemented!()
        }

        async fn rebuild_attempt_totals(&self) -> Result<Box<dyn TotalsRebuild>, StoreError> {
            unimplemented!()
        }

        async fn select_deliveries(&self, _: DeliveryFilter) -> Result<Box<dyn DeliverySelection>, StoreError> {
            unimplemented!()
        }
    }

    #[tokio::test]
    async fn a_list_ends_when_its_time_is_over_and_says_how_much_it_did_not_search() {
        let principal = Principal::LocalOperator;
        let hour = SearchLimit::Time(Duration::from_secs(3_600));
        let none = SearchLimit::Time(Duration::ZERO);
        for (limit, search_limit, found, unsearched) in
            [(5, SearchLimit::Unlimited, 1, None), (5, hour, 1, None), (1, hour, 1, None), (5, none, 0, Some(9))]
        {
            let mut list = DeliveryList::new(&principal, DeliveryFilter::default(), limit, search_limit);
            let mut rows = Vec::new();
            while let Some(page) = list.next_page(&OneEventPerPage, &mut |_| {}).await.unwrap() {
                rows.extend(page);
            }
            assert_eq!((rows.len(), list.unsearched_events()), (found, unsearched), "{limit} {search_limit:?}");
        }
    }

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
