//! The invocation ledger, see [`InvocationStore`](crate::storage::InvocationStore).

use super::{NOW_MS, TestStore};
use crate::base::id::InstanceId;
use crate::storage::{
    BeginInvocationOutcome, DEFAULT_COMPANY_ID, EndedInvocation, InvocationFilter, InvocationRow, InvocationState,
    NewInvocation, SignatureUse, StoredAnswer,
};

const WINDOW_MS: i64 = 1_000;
const LEASE_MS: i64 = 500;

fn invocation(owner: &InstanceId, key: u8, received_at_ms: i64) -> NewInvocation {
    NewInvocation {
        key: [key; 32],
        reuse_since_ms: received_at_ms - WINDOW_MS,
        idempotency_key: format!("inv_{key}_{received_at_ms}"),
        owner: owner.clone(),
        now_ms: received_at_ms,
        lease_until_ms: received_at_ms + LEASE_MS,
        company_id: DEFAULT_COMPANY_ID,
        function: "weather".into(),
        call_id: Some("call_1".into()),
        tool_call_id: None,
        received_at_ms,
        arguments: Some("{}".into()),
        signature: None,
    }
}

fn ended(owner: &InstanceId, key: u8, state: InvocationState, body: &str) -> EndedInvocation {
    let answer = StoredAnswer { content_type: "text/plain".into(), body: body.to_owned().into(), truncated: false };
    EndedInvocation { key: [key; 32], owner: owner.clone(), state, ended_at_ms: NOW_MS, answer, reason: None }
}

fn run(idempotency_key: &str, run_number: u32) -> BeginInvocationOutcome {
    BeginInvocationOutcome::Run { idempotency_key: idempotency_key.into(), run_number, signature_seen: false }
}

async fn list(store: &TestStore, function: &str) -> Vec<InvocationRow> {
    let filter = InvocationFilter { function: Some(function.into()), ..InvocationFilter::default() };
    store.list_invocations(filter, 10).await.unwrap()
}

fn answered(outcome: &BeginInvocationOutcome) -> &[u8] {
    let BeginInvocationOutcome::AlreadyAnswered { answer, .. } = outcome else { panic!("{outcome:?}") };
    &answer.body
}

pub(in crate::storage) async fn an_answered_invocation_is_replayed_and_any_other_runs_again(store: TestStore) {
    let owner = InstanceId::random();
    let begin = async |received_at_ms| store.begin_invocation(invocation(&owner, 1, received_at_ms)).await.unwrap();
    assert_eq!(begin(5_000).await, run("inv_1_5000", 1));
    assert_eq!(begin(5_001).await, run("inv_1_5000", 2));
    store.end_invocation(ended(&owner, 1, InvocationState::Failed, "")).await.unwrap();
    assert_eq!(begin(5_002).await, run("inv_1_5000", 3));
    store.end_invocation(ended(&owner, 1, InvocationState::Done, "sunny")).await.unwrap();
    assert_eq!(answered(&begin(5_003).await), b"sunny");
    assert_eq!(begin(9_000).await, run("inv_1_9000", 1), "outside of the idempotency window");
    let rows = list(&store, "weather").await;
    assert_eq!(
        rows.iter().map(|row| (row.runs, row.state)).collect::<Vec<_>>(),
        [(1, InvocationState::Running), (3, InvocationState::Done)]
    );
    assert!(list(&store, "other").await.is_empty());
    assert_eq!(begin(20_000).await, run("inv_1_20000", 1));
    let states: Vec<_> = list(&store, "weather").await.iter().take(2).map(|row| row.state).collect();
    assert_eq!(
        states,
        [InvocationState::Running, InvocationState::Failed],
        "a replaced invocation that was running has failed"
    );
}

pub(in crate::storage) async fn an_invocation_belongs_to_its_receiver_until_its_lease_ends(store: TestStore) {
    let (one, other) = (InstanceId::random(), InstanceId::random());
    let begin = async |owner, now_ms| store.begin_invocation(invocation(owner, 1, now_ms)).await.unwrap();
    assert_eq!(begin(&one, 5_000).await, run("inv_1_5000", 1));
    assert_eq!(begin(&other, 5_000 + LEASE_MS - 1).await, BeginInvocationOutcome::Running);
    assert!(matches!(begin(&one, 5_001).await, BeginInvocationOutcome::Run { run_number: 2, .. }), "its own");
    assert!(matches!(begin(&other, 5_001 + LEASE_MS).await, BeginInvocationOutcome::Run { run_number: 3, .. }));
    store.end_invocation(ended(&one, 1, InvocationState::Done, "late")).await.unwrap();
    assert_eq!(begin(&one, 5_002 + LEASE_MS).await, BeginInvocationOutcome::Running, "the late answer is not kept");
    store.end_invocation(ended(&other, 1, InvocationState::Done, "sunny")).await.unwrap();
    assert_eq!(answered(&begin(&one, 5_003 + LEASE_MS).await), b"sunny");
    assert_eq!(list(&store, "weather").await[0].runs, 3);
}

pub(in crate::storage) async fn a_failed_run_is_repeated_by_any_receiver(store: TestStore) {
    let (one, other) = (InstanceId::random(), InstanceId::random());
    store.begin_invocation(invocation(&one, 1, 5_000)).await.unwrap();
    store.end_invocation(ended(&one, 1, InvocationState::Failed, "")).await.unwrap();
    assert_eq!(store.begin_invocation(invocation(&other, 1, 5_001)).await.unwrap(), run("inv_1_5000", 2));
}

pub(in crate::storage) async fn a_signature_stays_bound_to_its_first_use_until_it_is_purged(store: TestStore) {
    let owner = InstanceId::random();
    let used = |used_for: u8| SignatureUse { signature_hash: [7; 32], purpose_hash: [used_for; 32], seen_at_ms: 5_000 };
    let with = |used_for| NewInvocation { signature: Some(used(used_for)), ..invocation(&owner, 1, 5_000) };
    assert!(matches!(
        store.begin_invocation(with(1)).await.unwrap(),
        BeginInvocationOutcome::Run { signature_seen: false, .. }
    ));
    assert!(matches!(
        store.begin_invocation(with(1)).await.unwrap(),
        BeginInvocationOutcome::Run { signature_seen: true, run_number: 2, .. }
    ));
    assert_eq!(store.begin_invocation(with(2)).await.unwrap(), BeginInvocationOutcome::SignatureReused);
    assert!(store.use_signature(used(1)).await.unwrap() && !store.use_signature(used(2)).await.unwrap());
    assert_eq!(store.purge_invocations(5_000, 5_000, 10).await.unwrap(), 0);
    assert_eq!(store.purge_invocations(5_001, 5_001, 10).await.unwrap(), 2);
    assert!(store.use_signature(used(2)).await.unwrap());
}
