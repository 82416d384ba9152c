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
        replaces: None,
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

fn running() -> BeginInvocationOutcome {
    BeginInvocationOutcome::Running { signature_seen: false }
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
    assert_eq!(begin(&other, 5_000 + LEASE_MS - 1).await, running());
    assert!(matches!(begin(&one, 5_001).await, BeginInvocationOutcome::Run { run_number: 2, .. }), "its own");
    assert!(matches!(begin(&other, 5_001 + LEASE_MS).await, BeginInvocationOutcome::Run { run_number: 3, .. }));
    store.end_invocation(ended(&one, 1, InvocationState::Done, "late")).await.unwrap();
    assert_eq!(begin(&one, 5_002 + LEASE_MS).await, running(), "the late answer is not kept");
    store.end_invocation(ended(&other, 1, InvocationState::Done, "sunny")).await.unwrap();
    assert_eq!(answered(&begin(&one, 5_003 + LEASE_MS).await), b"sunny");
    assert_eq!(list(&store, "weather").await[0].runs, 3);
}

pub(in crate::storage) async fn an_outdated_invocation_is_replaced_by_one_process(store: TestStore) {
    let (one, other) = (InstanceId::random(), InstanceId::random());
    store.begin_invocation(invocation(&one, 1, 5_000)).await.unwrap();
    let replace = async |owner, now_ms, replaces: &str| {
        let new = NewInvocation { replaces: Some(replaces.into()), ..invocation(owner, 1, now_ms) };
        store.begin_invocation(new).await.unwrap()
    };
    assert_eq!(replace(&other, 5_001, "inv_1_5000").await, running(), "another process is running it");
    store.end_invocation(ended(&one, 1, InvocationState::Done, "old")).await.unwrap();
    assert_eq!(answered(&replace(&one, 5_002, "inv_1_4000").await), b"old", "another invocation");
    // Both processes have seen the old answer.
    assert_eq!(replace(&one, 5_003, "inv_1_5000").await, run("inv_1_5003", 1));
    assert_eq!(replace(&other, 5_004, "inv_1_5000").await, running());
    store.end_invocation(ended(&one, 1, InvocationState::Done, "new")).await.unwrap();
    assert_eq!(answered(&replace(&other, 5_005, "inv_1_5000").await), b"new");
    let rows = list(&store, "weather").await;
    assert_eq!(rows.iter().map(|row| (row.runs, row.state)).collect::<Vec<_>>(), [(1, InvocationState::Done); 2]);
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
    let other = InstanceId::random();
    let elsewhere = NewInvocation { owner: other, ..with(1) };
    assert_eq!(
        store.begin_invocation(elsewhere).await.unwrap(),
        BeginInvocationOutcome::Running { signature_seen: true }
    );
    assert!(store.use_signature(used(1)).await.unwrap() && !store.use_signature(used(2)).await.unwrap());
    assert_eq!(store.purge_invocations(5_000, 5_000, 10).await.unwrap(), 0);
    assert_eq!(store.purge_invocations(5_001, 5_001, 10).await.unwrap(), 2);
    assert!(store.use_signature(used(2)).await.unwrap());
}
