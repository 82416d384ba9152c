//! What a worker of the queue checks from time to time, see [`DeliveryQueue`](crate::storage::DeliveryQueue).

use super::{NOW_MS, TestStore};
use crate::storage::DeliveryState::{Dead, Pending, Scheduled, Skipped};
use crate::storage::{
    BodyRecheck, ClaimedDelivery, DeliveryChange, DeliveryFilter, DeliveryState, HandlerId, PlannedDelivery, Position,
    Role, SettledDelivery, Settlement,
};

const DAY_MS: i64 = 86_400_000;

fn settled(claimed: &ClaimedDelivery, settlement: Settlement, body_unread: bool) -> Vec<SettledDelivery> {
    let seq = claimed.event.summary.seq;
    vec![SettledDelivery { seq, lease: claimed.lease, settlement, attempt: None, body_unread, call: None }]
}

fn dead() -> Settlement {
    Settlement::Dead { error: "the body cannot be read".into() }
}

/// Discards the dead letter of an event, as an operator does.
async fn discard(store: &TestStore, claimed: &ClaimedDelivery) {
    let event_handler_pairs = vec![(claimed.event.summary.id, None)];
    let filter = DeliveryFilter { event_handler_pairs, ..DeliveryFilter::default() };
    let mut selection = store.open_as(Role::Operator).select_deliveries(filter).await.unwrap();
    let changed = selection.change_next(DeliveryChange::Discard, 100, NOW_MS).await.unwrap().unwrap();
    assert_eq!(changed.changed, 1);
}

/// State and due time of all deliveries, oldest event first.
async fn states(store: &TestStore) -> Vec<(DeliveryState, Option<i64>)> {
    let mut rows = store.list_deliveries(DeliveryFilter::default(), 100, None).await.unwrap().rows;
    rows.reverse();
    rows.iter().map(|row| (row.state, row.due_ms)).collect()
}

async fn append_and_plan(store: &TestStore, handler: HandlerId, call_ids: &[&str]) {
    for (number, call_id) in call_ids.iter().enumerate() {
        store.append_event(store.new_event(call_id, &format!("body {number}"))).await;
    }
    store.plan_all(handler).await;
}

pub(in crate::storage) async fn dead_deliveries_resume_when_their_bodies_can_be_read(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    append_and_plan(&store, handler, &["call_1", "call_1", "call_2", "call_3"]).await;
    let claimed = store.claim(handler, NOW_MS).await;
    let [first, other, refused] = &claimed[..] else { panic!("{claimed:?}") };
    for (claimed, body_unread) in [(first, true), (other, true), (refused, false)] {
        store.settle_deliveries(handler, settled(claimed, dead(), body_unread), NOW_MS).await.unwrap();
    }
    discard(&store, other).await;
    let recheck = store.resume_readable(handler, Position::START, NOW_MS + 5).await.unwrap();
    assert_eq!(recheck, BodyRecheck { resumed: 1, next_after: None });
    let expected = [(Pending, Some(NOW_MS + 5)), (Pending, None), (Skipped, None), (Dead, None)];
    assert_eq!(states(&store).await, expected, "the resumed delivery precedes the next one of its call");
    let claimed = store.claim(handler, NOW_MS + 5).await;
    let [resumed] = &claimed[..] else { panic!("{claimed:?}") };
    assert_eq!(
        (resumed.event.summary.seq, resumed.previous_attempts, resumed.body_unread),
        (first.event.summary.seq, 0, true)
    );
    store.settle_deliveries(handler, settled(resumed, dead(), false), NOW_MS + 6).await.unwrap();
    let recheck = store.resume_readable(handler, Position::START, NOW_MS + 7).await.unwrap();
    assert_eq!(recheck, BodyRecheck::default(), "the destination has refused it");
}

pub(in crate::storage) async fn future_times_keep_their_wait_and_hold_back_no_call(store: TestStore) {
    const ORDERING_TIMEOUT_MS: i64 = 60_000;
    let handler = store.register("crm", ORDERING_TIMEOUT_MS).await;
    append_and_plan(&store, handler, &["call_1", "call_1", "call_2"]).await;
    let ahead_ms = NOW_MS + DAY_MS;
    let claimed = store.claim(handler, ahead_ms).await;
    let retry = |next_attempt_at_ms| Settlement::Scheduled { next_attempt_at_ms, error: "down".into() };
    let [first, other] = &claimed[..] else { panic!("{claimed:?}") };
    // One wait was planned a day ahead, the other one by the right time and for long.
    store.settle_deliveries(handler, settled(first, retry(ahead_ms + 5_000), false), ahead_ms).await.unwrap();
    store.settle_deliveries(handler, settled(other, retry(NOW_MS + DAY_MS), false), NOW_MS).await.unwrap();
    let held = (Pending, Some(ahead_ms + ORDERING_TIMEOUT_MS));
    assert_eq!(states(&store).await[..2], [(Scheduled, Some(ahead_ms + 5_000)), held]);

    assert_eq!(store.correct_future_times(handler, NOW_MS).await.unwrap(), 1);
    let corrected = [
        (Scheduled, Some(NOW_MS + 5_000)),
        (Pending, Some(NOW_MS + ORDERING_TIMEOUT_MS)),
        (Scheduled, Some(NOW_MS + DAY_MS)),
    ];
    assert_eq!(states(&store).await, corrected);
    assert_eq!(store.correct_future_times(handler, NOW_MS).await.unwrap(), 0);
    assert_eq!(states(&store).await, corrected, "nothing is left to correct");
    assert_eq!(store.claim(handler, NOW_MS + 5_000).await[0].event.summary.seq, first.event.summary.seq);
}

pub(in crate::storage) async fn a_delivery_released_after_the_clock_was_set_back_is_due(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    store.append_event(store.new_event("call_1", "a")).await;
    let batch = store.next_plan_batch(handler, 9, false).await.unwrap().unwrap();
    let seq = batch.events[0].0.seq;
    let planned = vec![PlannedDelivery::new(seq)];
    store.plan_deliveries(handler, batch.token, planned, NOW_MS + DAY_MS).await.unwrap();
    let claimed = store.claim(handler, NOW_MS + DAY_MS).await.remove(0);
    store.settle_deliveries(handler, settled(&claimed, Settlement::Released, false), NOW_MS).await.unwrap();
    assert_eq!(states(&store).await, [(Pending, Some(NOW_MS))]);
}
