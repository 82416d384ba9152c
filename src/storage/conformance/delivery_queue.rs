//! The queue of deliveries, see [`DeliveryQueue`](crate::storage::DeliveryQueue).

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::{LEASE_MS, NOW_MS, TestStore, claim_request};
use crate::base::id::CompanyId;
use crate::storage::{
    AttemptOutcome, AttemptRecord, BreakerState, ClaimRequest, ClaimedDelivery, DeliveryChange, DeliveryFilter,
    DeliveryOutlook, DeliveryState, HandlerId, HandlerRow, LatencyFilter, LatencyGrouping, LatencyKey, LeaseToken,
    NewEvent, PlanOutcome, PlannedDelivery, Role, Seq, SettledDelivery, Settlement,
};

/// Stores an event and plans it; returns its sequence number.
async fn append_and_plan(store: &TestStore, handler: HandlerId, event: NewEvent) -> Seq {
    let seq = store.append_event(event).await;
    store.plan_all(handler).await;
    seq
}

/// Stores and plans an event of this company and call; its body is the id of the call.
async fn append_for(store: &TestStore, handler: HandlerId, company_id: CompanyId, call_id: &str) -> Seq {
    append_and_plan(store, handler, NewEvent { company_id, ..store.new_event(call_id, call_id) }).await
}

fn claim_up_to(limit: usize) -> ClaimRequest {
    ClaimRequest { limit, limit_per_company: limit, ..claim_request(NOW_MS) }
}

fn leases(claimed: &[ClaimedDelivery]) -> Vec<LeaseToken> {
    claimed.iter().map(|claimed| claimed.lease).collect()
}

/// The settlement of a claimed delivery, with the record of an attempt that started at `started_at_ms`.
fn settled(claimed: &ClaimedDelivery, settlement: Settlement, started_at_ms: i64) -> Vec<SettledDelivery> {
    let attempt = AttemptRecord {
        attempt: 1,
        started_at_ms,
        duration_ms: 1,
        outcome: AttemptOutcome::Done,
        status: Some(200),
        error: None,
        answer: None,
    };
    let seq = claimed.event.summary.seq;
    vec![SettledDelivery {
        seq,
        lease: claimed.lease,
        settlement,
        attempt: Some(attempt),
        body_unread: false,
        call: None,
    }]
}

/// The state of a delivery, and the start times of its recorded attempts.
async fn state_and_attempts(store: &TestStore, claimed: &ClaimedDelivery) -> (DeliveryState, Vec<i64>) {
    let outlooks = store.delivery_outlooks(claimed.event.summary.id).await.unwrap();
    let [(_, DeliveryOutlook::Delivery(row, attempts))] = &outlooks[..] else { panic!("{outlooks:?}") };
    (row.state, attempts.iter().map(|attempt| attempt.started_at_ms - NOW_MS).collect())
}

async fn claim_company_and_seq(store: &TestStore, handler: HandlerId, claim: ClaimRequest) -> Vec<(i64, Seq)> {
    let claimed = store.claim_deliveries(handler, claim).await.unwrap();
    claimed.iter().map(|claimed| (claimed.event.summary.company_id.get(), claimed.event.summary.seq)).collect()
}

pub(in crate::storage) async fn claims_are_shared_between_companies(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    let mut a = Vec::new();
    for number in 0..6 {
        a.push(append_for(&store, handler, CompanyId::new(1), &format!("a{number}")).await);
    }
    let b = append_for(&store, handler, CompanyId::new(2), "b").await;
    let c = append_for(&store, handler, CompanyId::new(3), "c").await;
    assert_eq!(claim_company_and_seq(&store, handler, claim_up_to(4)).await, [(1, a[0]), (1, a[1]), (2, b), (3, c)]);
    let full = ClaimRequest { prefetched_by_company: BTreeMap::from([(CompanyId::new(1), 4)]), ..claim_up_to(4) };
    assert_eq!(claim_company_and_seq(&store, handler, full).await, [], "company 1 has reached its prefetch limit");
    let next = append_for(&store, handler, CompanyId::new(2), "b2").await;
    let after_one = ClaimRequest { after_company_id: CompanyId::new(1), ..claim_up_to(1) };
    assert_eq!(claim_company_and_seq(&store, handler, after_one).await, [(2, next)]);
}

pub(in crate::storage) async fn a_claim_takes_one_delivery_per_call_and_bounds_body_bytes(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    let large = store.new_event("call_1", &"x".repeat(10_000));
    let first = append_and_plan(&store, handler, large).await;
    let second = append_for(&store, handler, CompanyId::new(1), "call_1").await;
    let other = append_for(&store, handler, CompanyId::new(1), "call_2").await;
    let bounded = ClaimRequest { limit_bytes: 5_000, ..claim_up_to(9) };
    let claimed = store.claim_deliveries(handler, bounded).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].event.summary.seq), (1, first), "a single body may exceed the limit");
    assert_eq!(claim_company_and_seq(&store, handler, claim_up_to(9)).await, [(1, other)]);
    assert_eq!(store.next_due_ms(handler).await.unwrap(), Some(NOW_MS + LEASE_MS), "the end of the leases");
    let done = settled(&claimed[0], Settlement::Succeeded, NOW_MS);
    assert_eq!(store.settle_deliveries(handler, done.clone(), NOW_MS).await.unwrap(), 0);
    assert_eq!(claim_company_and_seq(&store, handler, claim_up_to(9)).await, [(1, second)]);
    assert_eq!(store.settle_deliveries(handler, done, NOW_MS).await.unwrap(), 1);
    assert_eq!(claim_company_and_seq(&store, handler, claim_up_to(9)).await, [], "a finished delivery stays finished");
    let grouping = LatencyGrouping::Name;
    let all = LatencyFilter { name: None, company: None, since_ms: None, until_ms: None, grouping };
    let counted = store.attempt_stats(all).await.unwrap();
    let group = &counted[&LatencyKey::Text("crm".to_owned())];
    assert_eq!((group.by_outcome["done"], group.durations.percentile(50)), (1, Some(1)), "a repetition counts once");
}

/// The probes of a circuit breaker: of distinct calls, without those that have failed or were retried by an operator.
pub(in crate::storage) async fn untried_deliveries_are_preferred_on_request(store: TestStore) {
    let row = HandlerRow { name: "crm".into(), ordered: false, ordering_timeout_ms: 1_000 };
    let handler = store.register_handler(row).await.unwrap();
    let first = CompanyId::new(1);
    let failed = append_for(&store, handler, first, "failed").await;
    let retried = append_for(&store, handler, first, "retried").await;
    let claimed = store.claim(handler, NOW_MS).await;
    assert!(claimed.iter().all(|claimed| claimed.is_untried));
    let scheduled = Settlement::Scheduled { next_attempt_at_ms: NOW_MS, error: "down".into() };
    for (claimed, settlement) in claimed.iter().zip([scheduled, Settlement::Dead { error: "no".into() }]) {
        store.settle_deliveries(handler, settled(claimed, settlement, NOW_MS), NOW_MS).await.unwrap();
    }
    let operator = store.open_as(Role::Operator);
    let mut selection = operator.select_deliveries(DeliveryFilter::default()).await.unwrap();
    let changed = selection.change_next(DeliveryChange::Retry, 9, NOW_MS).await.unwrap().unwrap().changed;
    assert_eq!(changed, 2, "the scheduled one too");
    let mut untried = Vec::new();
    for (company, call, body) in [(1, "a", "a1"), (1, "a", "a2"), (1, "a", "a3"), (1, "b", "b"), (2, "c", "c")] {
        let event = NewEvent { company_id: CompanyId::new(company), ..store.new_event(call, body) };
        untried.push(append_and_plan(&store, handler, event).await);
    }
    let probes = ClaimRequest { prefer_untried: true, ..claim_up_to(3) };
    let claims = [
        vec![(1, untried[0]), (1, untried[3]), (2, untried[4])],
        vec![(1, untried[1])],
        vec![(1, untried[2])],
        vec![(1, failed), (1, retried)],
        vec![],
    ];
    for expected in claims {
        assert_eq!(claim_company_and_seq(&store, handler, probes.clone()).await, expected);
    }
}

/// A worker that comes back after its lease has ended, and another one has claimed the delivery.
pub(in crate::storage) async fn late_settlements_are_refused(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    append_for(&store, handler, CompanyId::new(1), "call_1").await;
    let first = store.claim(handler, NOW_MS).await.remove(0);
    assert!(store.claim(handler, NOW_MS + LEASE_MS - 1).await.is_empty());
    let second = store.claim(handler, NOW_MS + LEASE_MS).await.remove(0);
    assert_ne!(first.lease, second.lease);
    let now_ms = NOW_MS + LEASE_MS;
    for late in [
        Settlement::Succeeded,
        Settlement::Dead { error: "gone".into() },
        Settlement::Scheduled { next_attempt_at_ms: now_ms, error: "down".into() },
        Settlement::Released,
    ] {
        assert_eq!(store.settle_deliveries(handler, settled(&first, late, NOW_MS), now_ms).await.unwrap(), 1);
        let running = (DeliveryState::Running, vec![0]);
        assert_eq!(state_and_attempts(&store, &second).await, running, "the attempt is recorded");
    }
    let done = settled(&second, Settlement::Succeeded, now_ms);
    assert_eq!(store.settle_deliveries(handler, done.clone(), now_ms).await.unwrap(), 0);
    let succeeded = (DeliveryState::Succeeded, vec![0, LEASE_MS]);
    assert_eq!(state_and_attempts(&store, &second).await, succeeded);
    assert_eq!(store.settle_deliveries(handler, done, now_ms).await.unwrap(), 1, "settled already");
    assert_eq!(state_and_attempts(&store, &second).await, succeeded);
    assert_eq!(store.next_due_ms(handler).await.unwrap(), None);
}

pub(in crate::storage) async fn a_renewed_lease_ends_later(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    append_for(&store, handler, CompanyId::new(1), "call_1").await;
    append_for(&store, handler, CompanyId::new(1), "call_2").await;
    let first = store.claim(handler, NOW_MS).await;
    let renewed_until_ms = NOW_MS + 2 * LEASE_MS;
    assert_eq!(store.renew_leases(handler, leases(&first), renewed_until_ms).await.unwrap(), []);
    assert!(store.claim(handler, renewed_until_ms - 1).await.is_empty());
    assert_eq!(store.next_due_ms(handler).await.unwrap(), Some(renewed_until_ms));
    // Both leases have ended, and only one delivery is claimed again.
    let renewed = vec![first[0].lease];
    assert_eq!(store.renew_leases(handler, renewed, renewed_until_ms + LEASE_MS).await.unwrap(), []);
    let second = store.claim(handler, renewed_until_ms).await;
    assert_eq!(
        second.iter().map(|claimed| claimed.event.summary.seq).collect::<Vec<_>>(),
        [first[1].event.summary.seq]
    );
    let lost = store.renew_leases(handler, leases(&first), renewed_until_ms + LEASE_MS).await.unwrap();
    assert_eq!(lost, [first[1].lease]);
    let done = settled(&first[0], Settlement::Succeeded, NOW_MS);
    assert_eq!(store.settle_deliveries(handler, done, NOW_MS).await.unwrap(), 0);
    let lost = store.renew_leases(handler, vec![first[0].lease], i64::MAX).await.unwrap();
    assert_eq!(lost, [first[0].lease], "a settled delivery has no lease");
    assert_eq!(state_and_attempts(&store, &first[0]).await.0, DeliveryState::Succeeded);
}

/// Two workers that read the same events: the later one must not plan them again.
pub(in crate::storage) async fn a_batch_is_planned_once(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    let mut seqs = Vec::new();
    for number in 0..5 {
        seqs.push(store.append_event(store.new_event(&format!("call_{number}"), &format!("{number}"))).await);
    }
    let planned =
        |seqs: &[Seq]| -> Vec<PlannedDelivery> { seqs.iter().map(|seq| PlannedDelivery::new(*seq)).collect() };
    let first = store.next_plan_batch(handler, 3, true).await.unwrap().unwrap();
    assert_eq!(first.events.iter().map(|(event, _)| event.seq).collect::<Vec<_>>(), seqs[..3]);
    assert!(first.events.iter().all(|(_, body)| body.is_some()));
    let longer = store.next_plan_batch(handler, 5, false).await.unwrap().unwrap();
    assert!(longer.events.iter().all(|(_, body)| body.is_none()));
    // The filter leaves out the first event, and the position moves past it.
    let outcome = store.plan_deliveries(handler, first.token, planned(&seqs[1..3]), NOW_MS).await.unwrap();
    assert_eq!(outcome, PlanOutcome::Planned);
    for stale in [first.token, longer.token] {
        let outcome = store.plan_deliveries(handler, stale, planned(&seqs), NOW_MS).await.unwrap();
        assert_eq!(outcome, PlanOutcome::Stale);
    }
    let store = store.restart().await;
    assert_eq!(store.register("crm", 1_000).await, handler);
    let next = store.next_plan_batch(handler, 9, false).await.unwrap().unwrap();
    assert_eq!(next.events.iter().map(|(event, _)| event.seq).collect::<Vec<_>>(), seqs[3..]);
    let outcome = store.plan_deliveries(handler, next.token, planned(&seqs[3..]), NOW_MS).await.unwrap();
    assert_eq!(outcome, PlanOutcome::Planned);
    assert!(store.next_plan_batch(handler, 9, false).await.unwrap().is_none());
    let claimed = store.claim(handler, NOW_MS).await;
    assert_eq!(claimed.iter().map(|claimed| claimed.event.summary.seq).collect::<Vec<_>>(), seqs[1..]);
}

/// Several workers that claim at the same time.
pub(in crate::storage) async fn concurrent_claims_share_no_delivery(store: TestStore) {
    const DELIVERIES: usize = 20;
    let handler = store.register("crm", 1_000).await;
    for number in 0..DELIVERIES {
        store.append_event(store.new_event(&format!("call_{number}"), &format!("{number}"))).await;
    }
    store.plan_all(handler).await;
    let claims = join_all((0..8).map(|_| store.claim_deliveries(handler, claim_up_to(4)))).await;
    let mut claimed: Vec<_> = claims.into_iter().flat_map(Result::unwrap).collect();
    assert!(!claimed.is_empty());
    // What concurrent claims have left to each other.
    claimed.extend(store.claim(handler, NOW_MS).await);
    let seqs: BTreeSet<_> = claimed.iter().map(|claimed| claimed.event.summary.seq).collect();
    assert_eq!((claimed.len(), seqs.len()), (DELIVERIES, DELIVERIES));
    for claimed in &claimed {
        let done = settled(claimed, Settlement::Succeeded, NOW_MS);
        assert_eq!(store.settle_deliveries(handler, done, NOW_MS).await.unwrap(), 0, "the lease is held");
    }
}

/// Several workers that claim events of one call at the same time.
pub(in crate::storage) async fn concurrent_claims_take_one_delivery_of_a_call(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    for body in ["a", "b", "c"] {
        store.append_event(store.new_event("call_1", body)).await;
    }
    store.plan_all(handler).await;
    for body in ["a", "b", "c"] {
        let claims = join_all((0..4).map(|_| store.claim_deliveries(handler, claim_up_to(4)))).await;
        let mut claimed: Vec<_> = claims.into_iter().flat_map(Result::unwrap).collect();
        claimed.extend(store.claim(handler, NOW_MS).await);
        let [claimed] = &claimed[..] else { panic!("{claimed:?}") };
        assert_eq!(claimed.event.body.as_deref(), Ok(body.as_bytes()));
        let done = settled(claimed, Settlement::Succeeded, NOW_MS);
        assert_eq!(store.settle_deliveries(handler, done, NOW_MS).await.unwrap(), 0);
    }
}

/// Several workers that plan the same events at the same time.
pub(in crate::storage) async fn concurrent_plans_of_a_batch_are_one(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    let seq = store.append_event(store.new_event("call_1", "a")).await;
    let planned = vec![PlannedDelivery::new(seq)];
    let plans = join_all((0..8).map(async |_| {
        let batch = store.next_plan_batch(handler, 9, false).await.unwrap()?;
        Some(store.plan_deliveries(handler, batch.token, planned.clone(), NOW_MS).await.unwrap())
    }));
    let outcomes = plans.await;
    let planned = outcomes.iter().filter(|outcome| **outcome == Some(PlanOutcome::Planned));
    assert_eq!(planned.count(), 1, "{outcomes:?}");
    assert_eq!(store.claim(handler, NOW_MS).await.len(), 1);
}

pub(in crate::storage) async fn a_new_handler_gets_later_events_only(store: TestStore) {
    store.append_event(store.new_event("call_1", "before")).await;
    let handler = store.register("crm", 1_000).await;
    assert!(store.next_plan_batch(handler, 9, false).await.unwrap().is_none());
    let seq = store.append_event(store.new_event("call_1", "after")).await;
    let batch = store.next_plan_batch(handler, 9, false).await.unwrap().unwrap();
    assert_eq!(batch.events.iter().map(|(event, _)| event.seq).collect::<Vec<_>>(), [seq]);
}

pub(in crate::storage) async fn breaker_states_are_listed_until_the_handler_is_registered_again(store: TestStore) {
    let handler = store.register("crm", 1_000).await;
    let breaker = async |store: &TestStore| {
        let backlogs = store.list_backlogs(10, NOW_MS).await.unwrap();
        (backlogs[0].breaker_state, backlogs[0].breaker_since_ms)
    };
    store.update_breaker_state(handler, BreakerState::Open, NOW_MS).await.unwrap();
    store.update_breaker_state(handler, BreakerState::HalfOpen, NOW_MS + 1).await.unwrap();
    assert_eq!(breaker(&store).await, (BreakerState::HalfOpen, Some(NOW_MS)), "since the start of the outage");
    store.update_breaker_state(handler, BreakerState::Closed, NOW_MS + 2).await.unwrap();
    assert_eq!(breaker(&store).await, (BreakerState::Closed, None));
    store.update_breaker_state(handler, BreakerState::Open, NOW_MS + 3).await.unwrap();
    store.register("crm", 1_000).await;
    assert_eq!(breaker(&store).await, (BreakerState::Closed, None));
}
