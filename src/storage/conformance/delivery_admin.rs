//! Changes to deliveries by an operator, see [`DeliveryAdmin`](crate::storage::DeliveryAdmin), and the order within a
//! call.

use crate::storage::Seq;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{NOW_MS, TestStore};
use crate::base::id::EventId;
use crate::storage::DeliveryState::{Pending, Running, Scheduled, Skipped, Succeeded};
use crate::storage::{
    DeliveryChange, DeliveryFilter, DeliverySelection, DeliveryState, HandlerId, LeaseToken, NewEvent, PlannedDelivery,
    Role, SettledDelivery, Settlement, Store, StoreErrorKind,
};

const ORDERING_TIMEOUT_MS: i64 = 60_000;

/// A receiver with one handler and six events of one call, and an operator on the same store. Events are numbered from 1.
struct OperatorFixture {
    store: TestStore,
    operator: Arc<dyn Store>,
    handler: HandlerId,
    events: Vec<(EventId, Seq)>,
    planned_events: usize,
    leases: BTreeMap<usize, LeaseToken>,
}

impl OperatorFixture {
    async fn new(store: TestStore) -> Self {
        let handler = store.register("crm", ORDERING_TIMEOUT_MS).await;
        let operator = store.open_as(Role::Operator);
        let (events, leases) = (Vec::new(), BTreeMap::new());
        let mut fixture = Self { store, operator, handler, events, planned_events: 0, leases };
        for number in 1..=6 {
            fixture.append(number).await;
        }
        fixture
    }

    async fn append(&mut self, number: usize) {
        let event = NewEvent { ..self.store.new_event("call_1", &format!("body {number}")) };
        let id = event.id;
        let seq = self.store.append_event(event).await;
        self.events.push((id, seq));
    }

    /// Plans the next events up to the last of these, and makes deliveries for these.
    async fn plan(&mut self, numbers: impl IntoIterator<Item = usize>) {
        let numbers = Vec::from_iter(numbers);
        let last = *numbers.last().unwrap();
        let limit = last - self.planned_events;
        let batch = self.store.next_plan_batch(self.handler, limit, false).await.unwrap().unwrap();
        let planned = numbers.into_iter().map(|number| PlannedDelivery::new(self.events[number - 1].1));
        self.store.plan_deliveries(self.handler, batch.token, planned.collect(), NOW_MS).await.unwrap();
        self.planned_events = last;
    }

    async fn claim(&mut self) -> Vec<usize> {
        let mut numbers = Vec::new();
        for claimed in self.store.claim(self.handler, NOW_MS).await {
            let number = self.number(claimed.event.summary.id);
            self.leases.insert(number, claimed.lease);
            numbers.push(number);
        }
        numbers
    }

    fn number(&self, id: EventId) -> usize {
        self.events.iter().position(|(event, _)| *event == id).unwrap() + 1
    }

    async fn settle(&mut self, number: usize, settlement: Settlement) {
        let (_, seq) = self.events[number - 1];
        let settled = vec![SettledDelivery::without_attempt(seq, self.leases[&number], settlement)];
        assert_eq!(self.store.settle_deliveries(self.handler, settled, NOW_MS).await.unwrap(), 0);
    }

    async fn claim_and_succeed(&mut self, numbers: &[usize]) {
        for number in numbers {
            assert_eq!(self.claim().await, [*number]);
            self.settle(*number, Settlement::Succeeded).await;
        }
    }

    async fn select(&self, filter: DeliveryFilter) -> Box<dyn DeliverySelection> {
        self.operator.select_deliveries(filter).await.unwrap()
    }

    /// Changes the deliveries of these events, if their state allows it, and returns the number of changed ones.
    async fn apply(&self, numbers: &[usize], change: DeliveryChange) -> u64 {
        let pairs = numbers.iter().map(|number| (self.events[*number - 1].0, None)).collect();
        let filter = DeliveryFilter {
            event_handler_pairs: pairs,
            include_undelivered: change == DeliveryChange::Replay,
            ..DeliveryFilter::default()
        };
        let mut selection = self.select(filter).await;
        let mut changed = 0;
        while let Some(batch) = selection.change_next(change, 100, NOW_MS).await.unwrap() {
            changed += batch.changed;
        }
        changed
    }

    /// Number, state and due time (relative to `NOW_MS`) of each delivery.
    async fn deliveries(&self) -> Vec<(usize, DeliveryState, Option<i64>)> {
        let rows = self.operator.list_deliveries(DeliveryFilter::default(), 100, None).await.unwrap().rows;
        let rows = rows.iter().rev();
        rows.map(|row| (self.number(row.event_id), row.state, row.due_ms.map(|due_ms| due_ms - NOW_MS))).collect()
    }
}

pub(in crate::storage) async fn replayed_deliveries_precede_pending_ones_of_their_call(store: TestStore) {
    let mut fixture = OperatorFixture::new(store).await;
    fixture.plan(1..=4).await;
    fixture.claim_and_succeed(&[1, 2]).await;
    assert_eq!(fixture.apply(&[1, 2], DeliveryChange::Replay).await, 2);
    let rows = [(1, Pending, Some(0)), (2, Pending, None), (3, Pending, None), (4, Pending, None)];
    assert_eq!(fixture.deliveries().await, rows, "event 3 is no longer due");
    fixture.claim_and_succeed(&[1, 2, 3, 4]).await;
}

pub(in crate::storage) async fn running_deliveries_are_not_changed(store: TestStore) {
    let mut fixture = OperatorFixture::new(store).await;
    fixture.plan(1..=3).await;
    fixture.claim_and_succeed(&[1]).await;
    assert_eq!(fixture.claim().await, [2]);
    for change in [DeliveryChange::Replay, DeliveryChange::Retry, DeliveryChange::Cancel, DeliveryChange::Discard] {
        assert_eq!(fixture.apply(&[2], change).await, 0, "{change:?}");
    }
    assert_eq!(fixture.apply(&[1], DeliveryChange::Replay).await, 1);
    assert!(fixture.claim().await.is_empty(), "one running delivery per call");
    fixture.settle(2, Settlement::Succeeded).await;
    fixture.claim_and_succeed(&[1, 3]).await;
}

pub(in crate::storage) async fn canceling_the_head_makes_the_next_delivery_due(store: TestStore) {
    let mut fixture = OperatorFixture::new(store).await;
    fixture.plan(1..=3).await;
    assert_eq!(fixture.claim().await, [1]);
    let later = Settlement::Scheduled { next_attempt_at_ms: NOW_MS + 5_000, error: "down".into() };
    fixture.settle(1, later).await;
    let waiting = [(1, Scheduled, Some(5_000)), (2, Pending, Some(ORDERING_TIMEOUT_MS))];
    assert_eq!(fixture.deliveries().await[..2], waiting);
    assert_eq!(fixture.apply(&[1, 3], DeliveryChange::Cancel).await, 2);
    assert_eq!(fixture.deliveries().await, [(1, Skipped, None), (2, Pending, Some(0)), (3, Skipped, None)]);
    fixture.claim_and_succeed(&[2]).await;
}

pub(in crate::storage) async fn a_retried_delivery_is_due_now_and_later_ones_wait(store: TestStore) {
    let mut fixture = OperatorFixture::new(store).await;
    fixture.plan(1..=2).await;
    assert_eq!(fixture.claim().await, [1]);
    fixture.settle(1, Settlement::Scheduled { next_attempt_at_ms: NOW_MS + 5_000, error: "down".into() }).await;
    assert_eq!(fixture.apply(&[1], DeliveryChange::Retry).await, 1);
    assert_eq!(fixture.deliveries().await, [(1, Pending, Some(0)), (2, Pending, None)]);
    assert_eq!(fixture.claim().await, [1]);
    assert_eq!(fixture.deliveries().await[0].1, Running);
}

pub(in crate::storage) async fn a_replay_inserts_a_delivery_for_a_planned_event(store: TestStore) {
    let mut fixture = OperatorFixture::new(store).await;
    // Events 1 and 3 are filtered; events 5 and 6 are not planned yet.
    fixture.plan([2, 4]).await;
    fixture.claim_and_succeed(&[2, 4]).await;
    assert_eq!(fixture.apply(&[1, 3, 5], DeliveryChange::Retry).await, 0, "only a replay inserts a delivery");
    assert_eq!(fixture.apply(&[1, 3, 5], DeliveryChange::Replay).await, 2);
    fixture.plan([5, 6]).await;
    fixture.claim_and_succeed(&[1, 3, 5, 6]).await;
    assert!(fixture.deliveries().await.iter().all(|(_, state, _)| *state == Succeeded));
}

pub(in crate::storage) async fn a_selection_visits_each_delivery_once_up_to_the_end_of_the_journal(store: TestStore) {
    let mut fixture = OperatorFixture::new(store).await;
    fixture.plan(1..=6).await;
    fixture.claim_and_succeed(&[1, 2, 3, 4, 5, 6]).await;
    let filter = DeliveryFilter { states: Some(vec![Succeeded]), ..DeliveryFilter::default() };
    let mut selection = fixture.select(filter).await;
    fixture.append(7).await;
    fixture.plan([7]).await;
    fixture.claim_and_succeed(&[7]).await;
    let mut batches = Vec::new();
    while let Some(batch) = selection.change_next(DeliveryChange::Replay, 4, NOW_MS).await.unwrap() {
        assert_eq!(batch.changed, batch.visited);
        let replayed = fixture.deliveries().await.into_iter().filter(|(_, state, _)| *state == Pending);
        let replayed: Vec<_> = replayed.map(|(number, ..)| number).collect();
        fixture.claim_and_succeed(&replayed).await;
        batches.push(replayed);
    }
    assert_eq!(batches, [vec![1, 2, 3, 4], vec![5, 6]]);
}

pub(in crate::storage) async fn counts_and_lists_show_the_selected_deliveries(store: TestStore) {
    let mut fixture = OperatorFixture::new(store).await;
    fixture.plan(1..=4).await;
    fixture.claim_and_succeed(&[1]).await;
    assert_eq!(fixture.apply(&[3], DeliveryChange::Cancel).await, 1);
    let mut selection = fixture.operator.select_deliveries(DeliveryFilter::default()).await.unwrap();
    let counted = selection.count_next().await.unwrap().unwrap();
    assert!(selection.count_next().await.unwrap().is_none() && counted.visited <= counted.total, "{counted:?}");
    let counts = counted.counts;
    assert!(counts.iter().all(|count| count.handler == "crm"));
    let counts: BTreeSet<_> =
        counts.into_iter().map(|count| (count.state.map(DeliveryState::as_str), count.reason, count.count)).collect();
    let cancelled = (Some("skipped"), Some("cancelled".to_owned()), 1);
    assert_eq!(counts, BTreeSet::from([(Some("succeeded"), None, 1), (Some("pending"), None, 2), cancelled]));
    let skipped = DeliveryFilter { states: Some(vec![Skipped]), ..DeliveryFilter::default() };
    let rows = fixture.operator.list_deliveries(skipped, 100, None).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| fixture.number(row.event_id)).collect::<Vec<_>>(), [3]);
    let backlog = fixture.operator.list_backlogs(100, NOW_MS).await.unwrap().remove(0);
    assert_eq!((backlog.pending, backlog.running, backlog.behind, backlog.dead), (2, 0, 4, 0));
    let unknown = DeliveryFilter { handler: Some("unknown".into()), ..DeliveryFilter::default() };
    let error = fixture.operator.select_deliveries(unknown).await.err().unwrap();
    assert_eq!(error.kind(), StoreErrorKind::NotFound);
}
