//! Removal of old data, see [`RetentionStore`](crate::storage::RetentionStore).

use crate::storage::Seq;
use std::collections::BTreeMap;

use super::{NOW_MS, TestStore};
use crate::calls::{CallFilter, CallKind, CallRecord, CallStage};
use crate::security::rejection_reason::RejectionReason;
use crate::storage::{
    AppendOutcome, ClaimedDelivery, CompanyScope, DEFAULT_COMPANY_ID, DeliveryFilter, DeliveryOutlook, EventFilter,
    NewEvent, PlannedDelivery, Position, PurgeBatch, PurgeCursor, RejectedFilter, RejectedRequest, RetentionKind, Role,
    SettledDelivery, Settlement, Store,
};

const DAY_MS: i64 = 86_400_000;

/// Removes what is older than this day, three rows at a time.
fn purge_before_day(kind: RetentionKind, day: i64) -> PurgeBatch {
    PurgeBatch {
        kind,
        company_scope: CompanyScope::AllExcept(Vec::new()),
        before_ms: NOW_MS + day * DAY_MS,
        cursor: PurgeCursor::default(),
        limit: 3,
        protecting_handlers: None,
        now_ms: NOW_MS + day * DAY_MS,
    }
}

/// Purges all batches and returns the number of removed rows.
async fn purge_all(store: &dyn Store, mut purge: PurgeBatch) -> u64 {
    let mut removed = 0;
    loop {
        let purged = store.purge_batch(purge.clone()).await.unwrap();
        // A batch that takes too long ends earlier.
        assert!(purged.removed <= purge.limit as u64);
        removed += purged.removed;
        let Some(cursor) = purged.next_cursor else { return removed };
        purge.cursor = cursor;
    }
}

async fn append_on_day(store: &TestStore, day: i64, call_id: &str, body: &str) -> Seq {
    let received_at_ms = NOW_MS + day * DAY_MS;
    let id = store.event_ids.next_id(received_at_ms);
    store.append_event(NewEvent { id, received_at_ms, ..store.new_event(call_id, body) }).await
}

async fn list_seqs(store: &TestStore) -> Vec<Seq> {
    let events = store.list_events(EventFilter::default()).await.unwrap();
    events.iter().rev().map(|event| event.seq).collect()
}

fn settled(claimed: &ClaimedDelivery, settlement: Settlement) -> SettledDelivery {
    SettledDelivery::without_attempt(claimed.event.summary.seq, claimed.lease, settlement)
}

pub(in crate::storage) async fn events_are_purged_in_batches_and_their_numbers_are_not_reused(store: TestStore) {
    let mut seqs = Vec::new();
    for day in 0..10 {
        seqs.push(append_on_day(&store, day, &format!("call_{day}"), &format!("body {day}")).await);
    }
    let purge = purge_before_day(RetentionKind::Events, 8);
    let counted = store.open_as(Role::Operator).count_purgeable(purge.clone()).await.unwrap().removed;
    assert!((1..=3).contains(&counted), "{counted}");
    assert_eq!(purge_all(&*store, purge).await, 8);
    assert_eq!(list_seqs(&store).await, seqs[8..]);
    assert_eq!(purge_all(&*store, purge_before_day(RetentionKind::Events, 100)).await, 2);
    let last_position = store.last_position().await.unwrap();
    assert_eq!(store.export_events(Position::START, EventFilter::default()).await.unwrap().len(), 0);
    let store = store.restart().await;
    let later = append_on_day(&store, 20, "call_20", "later").await;
    let exported = store.export_events(last_position, EventFilter::default()).await.unwrap();
    assert_eq!(exported.iter().map(|event| event.summary.seq).collect::<Vec<_>>(), [later]);
    assert!(later > seqs[9]);
    let overview = store.overview(NOW_MS + 20 * DAY_MS + 1).await.unwrap();
    assert_eq!((overview.accepted, overview.accepted_last_hour), (11, 1), "purged events count as accepted");
}

pub(in crate::storage) async fn an_operator_purges_while_a_receiver_is_running(store: TestStore) {
    append_on_day(&store, 0, "call_1", "one").await;
    let kept = append_on_day(&store, 5, "call_2", "two").await;
    let operator = store.open_as(Role::Operator);
    assert_eq!(purge_all(&*operator, purge_before_day(RetentionKind::Events, 1)).await, 1);
    assert_eq!(list_seqs(&store).await, [kept]);
}

pub(in crate::storage) async fn a_purged_event_is_new_when_it_is_sent_again(store: TestStore) {
    let append = async |body: &str| store.append(store.new_event("call_1", body)).await.unwrap();
    let first = AppendOutcome::Stored { revision: false, unparsed: false };
    assert_eq!(append("one").await, first);
    assert!(matches!(append("one").await, AppendOutcome::Duplicate { .. }));
    assert!(matches!(append("two").await, AppendOutcome::Stored { revision: true, .. }));
    assert_eq!(purge_all(&*store, purge_before_day(RetentionKind::Events, 1)).await, 2);
    assert_eq!(append("one").await, first);
    assert!(matches!(append("two").await, AppendOutcome::Stored { revision: true, .. }));
    let events = store.list_events(EventFilter::default()).await.unwrap();
    assert_eq!(events.iter().map(|event| event.duplicate_count).collect::<Vec<_>>(), [0, 0]);
}

pub(in crate::storage) async fn unfinished_deliveries_protect_their_event(store: TestStore) {
    let handler = store.register("crm", 0).await;
    let mut seqs = Vec::new();
    for call_id in ["call_1", "call_2", "call_3", "call_4"] {
        seqs.push(append_on_day(&store, 0, call_id, call_id).await);
    }
    // Event 3 is filtered, event 4 is not planned yet.
    let batch = store.next_plan_batch(handler, 3, false).await.unwrap().unwrap();
    let planned = seqs[..2].iter().map(|seq| PlannedDelivery::new(*seq));
    store.plan_deliveries(handler, batch.token, planned.collect(), NOW_MS).await.unwrap();
    let purge = || purge_before_day(RetentionKind::Events, 1);
    assert_eq!(purge_all(&*store, purge()).await, 1);
    assert_eq!(list_seqs(&store).await, [seqs[0], seqs[1], seqs[3]]);
    let claimed = store.claim(handler, NOW_MS).await;
    assert_eq!(claimed.len(), 2);
    assert_eq!(purge_all(&*store, purge()).await, 0, "running deliveries protect their events");
    let ended = vec![
        settled(&claimed[0], Settlement::Dead { error: "gone".into() }),
        settled(&claimed[1], Settlement::Succeeded),
    ];
    assert_eq!(store.settle_deliveries(handler, ended, NOW_MS).await.unwrap(), 0);
    assert_eq!(purge_all(&*store, purge()).await, 2, "a dead letter is purged with its event");
    // Handlers that are not in the settings any more protect nothing.
    let without_protection = PurgeBatch { protecting_handlers: Some(Vec::new()), ..purge() };
    assert_eq!(purge_all(&*store, without_protection).await, 1);
    assert!(store.list_deliveries(DeliveryFilter::default(), 9, None).await.unwrap().rows.is_empty());
}

pub(in crate::storage) async fn finished_deliveries_are_purged_without_their_events(store: TestStore) {
    let handler = store.register("crm", 0).await;
    let event = store.new_event("call_1", "one");
    let id = event.id;
    store.append_event(event).await;
    store.plan_all(handler).await;
    let purge = purge_before_day(RetentionKind::Deliveries, 1);
    assert_eq!(purge_all(&*store, purge.clone()).await, 0, "it is pending");
    let claimed = store.claim(handler, NOW_MS).await;
    let succeeded = vec![settled(&claimed[0], Settlement::Succeeded)];
    assert_eq!(store.settle_deliveries(handler, succeeded, NOW_MS).await.unwrap(), 0);
    assert_eq!(purge_all(&*store, purge).await, 1);
    assert_eq!(store.delivery_outlooks(id).await.unwrap(), [("crm".to_owned(), DeliveryOutlook::Removed)]);
    assert_eq!(list_seqs(&store).await.len(), 1);
}

pub(in crate::storage) async fn a_purge_is_limited_to_its_companies(store: TestStore) {
    let ids = store.get_or_create_company_ids(vec!["acme".into(), "other".into()]).await.unwrap();
    for company_id in [ids[0], ids[1], DEFAULT_COMPANY_ID] {
        store.append_event(NewEvent { company_id, ..store.new_event("call_1", "body") }).await;
    }
    let purge = |companies| PurgeBatch { company_scope: companies, ..purge_before_day(RetentionKind::Events, 1) };
    let removed = async |companies| purge_all(&*store, purge(companies)).await;
    assert_eq!(removed(CompanyScope::Only(vec!["unknown".into()])).await, 0);
    assert_eq!(removed(CompanyScope::Only(vec!["acme".into()])).await, 1);
    assert_eq!(removed(CompanyScope::AllExcept(vec!["default".into()])).await, 1);
    let left = store.list_events(EventFilter::default()).await.unwrap();
    assert_eq!(left.iter().map(|event| event.company.as_str()).collect::<Vec<_>>(), ["default"]);
}

pub(in crate::storage) async fn calls_and_rejected_requests_have_separate_limits(store: TestStore) {
    for (day, call_id) in [(0, "call_1"), (0, "call_2"), (5, "call_3")] {
        let at_ms = NOW_MS + day * DAY_MS;
        let call = CallRecord::new(CallKind::Call, DEFAULT_COMPANY_ID, "default", call_id, CallStage::Ended, at_ms);
        store.merge_call(call).await.unwrap();
        let rejected = RejectedRequest {
            company: None,
            received_at_ms: at_ms,
            source: None,
            method: "POST".into(),
            path: "/webhook".into(),
            headers: BTreeMap::new(),
            size_bytes: None,
            reason: RejectionReason::Missing,
            diagnosis: "no signature".into(),
            body: None,
        };
        store.insert_rejected(rejected).await.unwrap();
    }
    append_on_day(&store, 0, "call_1", "one").await;
    assert_eq!(purge_all(&*store, purge_before_day(RetentionKind::Calls, 1)).await, 2);
    let calls = store
        .list_calls(CallFilter {
            kind: CallKind::Call,
            company: None,
            agent_id: None,
            include_tests: false,
            since_ms: None,
            until_ms: None,
            limit: 9,
        })
        .await
        .unwrap();
    assert_eq!(calls.iter().map(|call| call.call_id.as_str()).collect::<Vec<_>>(), ["call_3"]);
    assert_eq!(store.list_rejected(RejectedFilter::default(), 9).await.unwrap().len(), 3);
    assert_eq!(purge_all(&*store, purge_before_day(RetentionKind::Rejected, 1)).await, 2);
    assert_eq!(store.list_rejected(RejectedFilter::default(), 9).await.unwrap().len(), 1);
    assert_eq!(list_seqs(&store).await.len(), 1, "the event stays");
}
