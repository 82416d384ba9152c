//! Replays, retries, cancels or discards many deliveries while a receiver may be running on the same store: first
//! counted, then changed in small batches with pauses between them, so that the receiver's own commits do not wait.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::base::clock::Clock;
use crate::operations::{OperationError, Principal, Progress, ProgressCallback};
use crate::storage::{CountedBatch, DeliveryAdmin, DeliveryChange, DeliveryCount, DeliveryFilter, DeliveryState};
use crate::view::{BulkChangeView, DeliveryCountView};

/// Deliveries per transaction: about 10 ms, during which the receiver cannot commit.
const MAX_BATCH_SIZE: u32 = 200;
/// At low rates the batches get smaller instead of rarer, so that progress stays visible.
const BATCHES_PER_SECOND: u32 = 5;

/// A change and the deliveries it applies to.
pub(crate) struct BulkChange {
    pub change: DeliveryChange,
    /// Which deliveries; its `states` and `include_undelivered` are not used.
    pub filter: DeliveryFilter,
    /// Only deliveries in these states are changed; `None` stands for events without a delivery, which only a replay
    /// for a named handler may select.
    pub states: Vec<Option<DeliveryState>>,
    /// Whether deliveries in other states are counted too, with the reason why they are excluded.
    pub counts_excluded: bool,
    /// Only counts the deliveries.
    pub dry_run: bool,
    /// Maximum number of deliveries to change, oldest events first.
    pub limit: Option<u64>,
    /// Maximum number of deliveries to change per second; at least 1.
    pub rate: u32,
}

/// The states that a change applies to unless the operator names others.
pub(crate) fn default_states(change: DeliveryChange, filter: &DeliveryFilter) -> Vec<Option<DeliveryState>> {
    let names_events = !filter.event_handler_pairs.is_empty();
    // An id or a reason already says exactly what is meant, so the state does not have to be named as well.
    let states = match change {
        DeliveryChange::Replay if filter.reason.is_none() => &[DeliveryState::Succeeded, DeliveryState::Dead][..],
        DeliveryChange::Retry if filter.reason.is_none() && !names_events => {
            &[DeliveryState::Scheduled, DeliveryState::Dead]
        }
        change => change.allowed_states(),
    };
    let mut states: Vec<_> = states.iter().copied().map(Some).collect();
    // An event and a handler that are both named are meant, even if the handler's filter excluded the event.
    if change == DeliveryChange::Replay && filter.reason.is_none() && names_events && names_handlers(filter) {
        states.push(None);
    }
    states
}

/// Whether the handler of every selected delivery is named.
fn names_handlers(filter: &DeliveryFilter) -> bool {
    let pairs = &filter.event_handler_pairs;
    filter.handler.is_some() || (!pairs.is_empty() && pairs.iter().all(|(_, handler)| handler.is_some()))
}

impl BulkChange {
    fn includes(&self, counted: &DeliveryCount) -> bool {
        self.states.contains(&counted.state)
    }

    fn selection_filter(&self) -> DeliveryFilter {
        let states = self.states.iter().copied().flatten().collect();
        let include_undelivered = self.states.contains(&None) && self.can_include_undelivered();
        DeliveryFilter { states: Some(states), include_undelivered, ..self.filter.clone() }
    }

    fn count_filter(&self) -> DeliveryFilter {
        if !self.counts_excluded {
            return self.selection_filter();
        }
        let include_undelivered = self.change == DeliveryChange::Replay && self.can_include_undelivered();
        DeliveryFilter { states: None, include_undelivered, ..self.filter.clone() }
    }

    /// Events without a delivery have no reason, so a reason excludes them. Without a named handler there would be one
    /// for every event and handler.
    fn can_include_undelivered(&self) -> bool {
        names_handlers(&self.filter) && self.filter.reason.is_none()
    }

    fn check_states(&self) -> Result<(), OperationError> {
        if !self.states.contains(&None) {
            return Ok(());
        }
        if self.change != DeliveryChange::Replay {
            let change = past_participle(self.change);
            let message = format!("events without a delivery cannot be {change}; select deliveries by their state");
            return Err(OperationError::InvalidInput(message));
        }
        if names_handlers(&self.filter) { Ok(()) } else { Err(OperationError::HandlerNotNamed) }
    }

    fn exclusion_reason(&self, counted: &DeliveryCount) -> Option<&'static str> {
        if self.includes(counted) {
            return None;
        }
        let attempts_again = matches!(self.change, DeliveryChange::Replay | DeliveryChange::Retry);
        Some(match counted.state {
            None => "not wanted by the handler, or received before it; select the state `none` to include them",
            Some(DeliveryState::Running) => "an attempt is running",
            Some(DeliveryState::Pending) => "waiting for the first attempt",
            Some(DeliveryState::Scheduled) => {
                "waiting for another attempt; select the state `scheduled` to include them"
            }
            Some(DeliveryState::Skipped) if attempts_again => "skipped; select the state `skipped` to include them",
            Some(DeliveryState::Skipped | DeliveryState::Succeeded) => "finished",
            Some(DeliveryState::Dead) => "dead letters, which are retried or discarded separately",
        })
    }

    fn count_view(&self, counted: DeliveryCount) -> DeliveryCountView {
        DeliveryCountView {
            excluded_reason: self.exclusion_reason(&counted),
            handler: counted.handler,
            state: counted.state.map(super::state_view),
            reason: counted.reason,
            count: counted.count,
        }
    }
}

/// Counts the selected deliveries and, unless it is a dry run, changes them.
///
/// # Errors
/// [`OperationError::HandlerNotNamed`] when events without a delivery are selected for every handler, and
/// [`OperationError::Stopped`] when some deliveries were changed before the store failed.
pub(crate) async fn change_deliveries(
    store: &dyn DeliveryAdmin,
    clock: &Clock,
    principal: &Principal,
    operation: &BulkChange,
    progress: ProgressCallback<'_>,
) -> Result<BulkChangeView, OperationError> {
    operation.check_states()?;
    let counts = count(store, operation.count_filter(), progress).await?;
    let matching: u64 = counts.iter().filter(|counted| operation.includes(counted)).map(|counted| counted.count).sum();
    let selected = matching.min(operation.limit.unwrap_or(u64::MAX));
    let mut changed = 0;
    if !operation.dry_run && selected > 0 {
        tracing::info!(%principal, change = past_participle(operation.change), selected, "changing deliveries");
        changed = apply(store, clock, operation, selected, progress).await?;
    }
    let counts = counts.into_iter().map(|counted| operation.count_view(counted)).collect();
    Ok(BulkChangeView { dry_run: operation.dry_run, selected, changed, counts })
}

/// Counts in steps, so that no read transaction is long.
async fn count(
    store: &dyn DeliveryAdmin,
    filter: DeliveryFilter,
    progress: ProgressCallback<'_>,
) -> Result<Vec<DeliveryCount>, OperationError> {
    let mut selection = store.select_deliveries(filter).await?;
    let mut totals: Vec<DeliveryCount> = Vec::new();
    while let Some(CountedBatch { counts, visited, total }) = selection.count_next().await? {
        for counted in counts {
            let is_same = |other: &&mut DeliveryCount| {
                (&other.handler, other.state, &other.reason) == (&counted.handler, counted.state, &counted.reason)
            };
            match totals.iter_mut().find(is_same) {
                Some(known) => known.count += counted.count,
                None => totals.push(counted),
            }
        }
        progress(Progress { step: "counted", done: visited, total });
    }
    totals.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    Ok(totals)
}

fn sort_key(counted: &DeliveryCount) -> (&str, Option<i64>, Option<&str>) {
    (&counted.handler, counted.state.map(|state| state as i64), counted.reason.as_deref())
}

async fn apply(
    store: &dyn DeliveryAdmin,
    clock: &Clock,
    operation: &BulkChange,
    selected: u64,
    progress: ProgressCallback<'_>,
) -> Result<u64, OperationError> {
    let mut selection = store.select_deliveries(operation.selection_filter()).await?;
    let batch_size = (operation.rate / BATCHES_PER_SECOND).clamp(1, MAX_BATCH_SIZE);
    let time_per_delivery = Duration::from_secs(1) / operation.rate.max(1);
    let step = past_participle(operation.change);
    let mut changed = 0;
    let mut visited = 0;
    let mut remaining = operation.limit.unwrap_or(u64::MAX);
    while remaining > 0 {
        let started = Instant::now();
        let size = usize::try_from(remaining).unwrap_or(usize::MAX).min(batch_size as usize);
        let result = selection.change_next(operation.change, size, clock.now_ms()).await;
        let next = result.map_err(|error| {
            OperationError::Stopped(format!("stopped after {changed} deliveries were {step}: {error}"))
        })?;
        let Some(batch) = next else { break };
        // The receiver may have claimed or finished some of the batch since it was selected: those are not changed,
        // and only what was changed counts against the limit.
        changed += batch.changed;
        remaining -= batch.changed.min(remaining);
        visited += batch.visited;
        progress(Progress { step, done: visited, total: selected });
        let deliveries = u32::try_from(batch.visited).unwrap_or(batch_size);
        sleep_until(started + time_per_delivery * deliveries).await;
    }
    Ok(changed)
}

/// What a changed delivery is called, such as `replayed`.
pub(crate) fn past_participle(change: DeliveryChange) -> &'static str {
    match change {
        DeliveryChange::Replay => "replayed",
        DeliveryChange::Retry => "retried",
        DeliveryChange::Cancel => "cancelled",
        DeliveryChange::Discard => "discarded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::EventIdGenerator;

    fn replay(states: Vec<Option<DeliveryState>>, filter: DeliveryFilter) -> BulkChange {
        BulkChange {
            change: DeliveryChange::Replay,
            filter,
            states,
            counts_excluded: true,
            dry_run: true,
            limit: None,
            rate: 1,
        }
    }

    #[test]
    fn events_without_a_delivery_are_only_replayed_for_a_named_handler() {
        let named = || DeliveryFilter { handler: Some("crm".to_owned()), ..DeliveryFilter::default() };
        let everywhere = replay(vec![None], DeliveryFilter::default());
        assert!(matches!(everywhere.check_states(), Err(OperationError::HandlerNotNamed)));
        assert!(!everywhere.selection_filter().include_undelivered && !everywhere.count_filter().include_undelivered);
        let by_name = replay(vec![None], named());
        assert!(by_name.check_states().is_ok() && by_name.selection_filter().include_undelivered);
        let delivered = replay(vec![Some(DeliveryState::Dead)], named());
        assert!(delivered.check_states().is_ok() && !delivered.selection_filter().include_undelivered);
        assert!(delivered.count_filter().include_undelivered, "they are counted as excluded");
        let retry = BulkChange { change: DeliveryChange::Retry, ..replay(vec![None], named()) };
        assert!(matches!(retry.check_states(), Err(OperationError::InvalidInput(_))));
        assert!(!retry.count_filter().include_undelivered);
    }

    #[test]
    fn a_reason_excludes_events_without_a_delivery() {
        let filter = DeliveryFilter {
            handler: Some("crm".to_owned()),
            reason: Some("discarded".to_owned()),
            ..DeliveryFilter::default()
        };
        let operation = replay(vec![None, Some(DeliveryState::Skipped)], filter);
        assert!(!operation.selection_filter().include_undelivered && !operation.count_filter().include_undelivered);
    }

    #[test]
    fn the_default_states_depend_on_what_the_filter_names() {
        use DeliveryState::{Dead, Scheduled, Succeeded};
        let all = DeliveryFilter::default();
        assert_eq!(default_states(DeliveryChange::Retry, &all), [Some(Scheduled), Some(Dead)]);
        assert_eq!(default_states(DeliveryChange::Replay, &all), [Some(Succeeded), Some(Dead)]);
        let id = EventIdGenerator::default().next_id(1_790_000_000_000);
        let pair = |handler: Option<&str>| DeliveryFilter {
            event_handler_pairs: vec![(id, handler.map(str::to_owned))],
            ..DeliveryFilter::default()
        };
        let allowed: Vec<_> = DeliveryChange::Retry.allowed_states().iter().copied().map(Some).collect();
        assert_eq!(default_states(DeliveryChange::Retry, &pair(None)), allowed);
        assert_eq!(default_states(DeliveryChange::Replay, &pair(None)), [Some(Succeeded), Some(Dead)]);
        assert_eq!(default_states(DeliveryChange::Replay, &pair(Some("crm"))), [Some(Succeeded), Some(Dead), None]);
        let allowed: Vec<_> = DeliveryChange::Replay.allowed_states().iter().copied().map(Some).collect();
        let discarded = DeliveryFilter { reason: Some("discarded".to_owned()), ..pair(Some("crm")) };
        assert_eq!(default_states(DeliveryChange::Replay, &discarded), allowed);
    }
}
