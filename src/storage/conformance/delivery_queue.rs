//! The queue of deliveries, see [`DeliveryQueue`](crate::storage::DeliveryQueue).

use std::collections::BTreeMap;

use super::{NOW_MS, TestStore};
use crate::storage::{ClaimRequest, HandlerId, NewEvent, PlannedDelivery, SettledDelivery, Settlement};

const LEASE_MS: i64 = 1_000_000;

/// Stores an event and plans it; returns its sequence number.
async fn append_and_plan(store: &TestStore, handler: HandlerId, event: NewEvent) -> i64 {
    let seq = store.append_event(event).await;
    let events = store.unplanned_events(handler, 10, false).await.unwrap();
    let planned =
        events.iter().map(|(event, _)| PlannedDelivery { seq: event.seq, skip_reason: None, supersedes: false });
    store.plan_deliveries(handler, planned.collect(), seq, NOW_MS).await.unwrap();
    seq
}

/// Stores and plans an event of this company and call; its body is the id of the call.
async fn append_for(store: &TestStore, handler: HandlerId, company_id: i64, call_id: &str) -> i64 {
    append_and_plan(store, handler, NewEvent { company_id, ..store.new_event(call_id, call_id) }).await
}

fn claim_up_to(limit: usize) -> ClaimRequest {
    ClaimRequest {
        now_ms: NOW_MS,
        lease_until_ms: NOW_MS + LEASE_MS,
        due_before_ms: NOW_MS,
        limit,
        limit_per_company: limit,
        prefetched_by_company: BTreeMap::new(),
        limit_bytes: u64::MAX,
        after_company_id: 0,
    }
}

async fn claim_company_and_seq(store: &TestStore, handler: HandlerId, claim: ClaimRequest) -> Vec<(i64, i64)> {
    let claimed = store.claim_deliveries(handler, claim).await.unwrap();
    claimed.iter().map(|claimed| (claimed.event.summary.company_id, claimed.event.summary.seq)).collect()
}

pub(in crate::storage) async fn claims_are_shared_between_companies(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    let mut a = Vec::new();
    for number in 0..6 {
        a.push(append_for(&store, handler, 1, &format!("a{number}")).await);
    }
    let b = append_for(&store, handler, 2, "b").await;
    let c = append_for(&store, handler, 3, "c").await;
    assert_eq!(claim_company_and_seq(&store, handler, claim_up_to(4)).await, [(1, a[0]), (1, a[1]), (2, b), (3, c)]);
    let full = ClaimRequest { prefetched_by_company: BTreeMap::from([(1, 4)]), ..claim_up_to(4) };
    assert_eq!(claim_company_and_seq(&store, handler, full).await, [], "company 1 has reached its prefetch limit");
    let next = append_for(&store, handler, 2, "b2").await;
    let after_one = ClaimRequest { after_company_id: 1, ..claim_up_to(1) };
    assert_eq!(claim_company_and_seq(&store, handler, after_one).await, [(2, next)]);
}

pub(in crate::storage) async fn a_claim_takes_one_delivery_per_call_and_bounds_body_bytes(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    let large = store.new_event("call_1", &"x".repeat(10_000));
    let first = append_and_plan(&store, handler, large).await;
    let second = append_for(&store, handler, 1, "call_1").await;
    let other = append_for(&store, handler, 1, "call_2").await;
    let bounded = ClaimRequest { limit_bytes: 5_000, ..claim_up_to(9) };
    assert_eq!(
        claim_company_and_seq(&store, handler, bounded).await,
        [(1, first)],
        "a single body may exceed the limit"
    );
    assert_eq!(claim_company_and_seq(&store, handler, claim_up_to(9)).await, [(1, other)]);
    assert_eq!(store.next_due_ms(handler).await.unwrap(), Some(NOW_MS + LEASE_MS), "the end of the leases");
    let settled = vec![SettledDelivery { seq: first, settlement: Settlement::Succeeded, attempt: None }];
    store.settle_deliveries(handler, settled.clone(), NOW_MS).await.unwrap();
    assert_eq!(claim_company_and_seq(&store, handler, claim_up_to(9)).await, [(1, second)]);
    store.settle_deliveries(handler, settled, NOW_MS).await.unwrap();
    assert_eq!(claim_company_and_seq(&store, handler, claim_up_to(9)).await, [], "a finished delivery stays finished");
}
