//! Statistics of functions are those of the invocations in the ledger that have ended.

use proptest::prelude::*;

use super::*;
use crate::base::id::InstanceId;
use crate::storage::sqlite::operator::OperatorRemoval;
use crate::storage::sqlite::wal::SyncState;
use crate::storage::{DEFAULT_COMPANY_ID, DataSubject, EndedInvocation, InvocationStore, NewInvocation, StoredAnswer};

const COUNT_INVOCATIONS: &str =
    "SELECT function, state, count(*) FROM invocations WHERE ended_at_ms IS NOT NULL GROUP BY 1, 2";

#[derive(Clone, Debug)]
enum Change {
    /// Begins the invocation of this key, or runs it again. With `true` it replaces the one before.
    Begin(u8, bool),
    End(u8, InvocationState, i64),
    Purge(i64),
    EraseCall(u8),
}

fn any_change() -> impl Strategy<Value = Change> {
    let state = prop_oneof![
        Just(InvocationState::Done),
        Just(InvocationState::InvalidArguments),
        Just(InvocationState::Failed)
    ];
    prop_oneof![
        4 => (1..5_u8, any::<bool>()).prop_map(|(key, replaces)| Change::Begin(key, replaces)),
        5 => (1..5_u8, state, -5..9_000_i64).prop_map(|(key, state, ms)| Change::End(key, state, ms)),
        1 => (0..30_i64).prop_map(Change::Purge),
        1 => (1..5_u8).prop_map(Change::EraseCall),
    ]
}

async fn apply(fixture: &Fixture, removal: &mut OperatorRemoval, owner: &InstanceId, now_ms: i64, change: &Change) {
    let store = &fixture.store;
    match *change {
        Change::Begin(key, replaces) => {
            let new = NewInvocation {
                key: [key; 32],
                reuse_since_ms: if replaces { now_ms } else { 0 },
                replaces: None,
                idempotency_key: format!("inv_{key}_{now_ms}"),
                owner: owner.clone(),
                now_ms,
                lease_until_ms: now_ms + 1,
                company_id: DEFAULT_COMPANY_ID,
                function: if key % 2 == 0 { "weather".into() } else { "book".into() },
                call_id: Some(format!("call_{key}")),
                tool_call_id: None,
                received_at_ms: now_ms,
                arguments: None,
                signature: None,
            };
            store.begin_invocation(new).await.unwrap();
        }
        Change::End(key, state, ms) => {
            let answer = StoredAnswer { content_type: "text/plain".into(), body: "ok".into(), truncated: false };
            let ended_at_ms = now_ms + ms;
            let ended =
                EndedInvocation { key: [key; 32], owner: owner.clone(), state, ended_at_ms, answer, reason: None };
            store.end_invocation(ended).await.unwrap();
        }
        Change::Purge(hours) => drop(store.purge_invocations(START_MS + hours * HOUR_MS, 0, 3).await.unwrap()),
        Change::EraseCall(key) => {
            let mut person = DataSubject::default();
            person.add_calls([(DEFAULT_COMPANY_ID, format!("call_{key}"))]);
            removal.erase_related_rows(&person).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn totals_equal_a_count_of_the_invocations_after_every_change(
        changes in proptest::collection::vec(any_change(), 5..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (fixture, owner) = (Fixture::new(), InstanceId::random());
            let mut removal = OperatorRemoval::open(&fixture.url, &SyncState::of_command(&fixture.url)).unwrap();
            for (number, change) in (0..).zip(&changes) {
                apply(&fixture, &mut removal, &owner, START_MS + number * HOUR_MS / 2, change).await;
                let stats = fixture.store.invocation_stats(ALL).await.unwrap();
                fixture.assert_exact(TotalsTable::Invocations, &stats, COUNT_INVOCATIONS);
            }
        });
    }
}
