//! The records of calls and chats, see [`CallStore`](crate::storage::CallStore).

use super::{NOW_MS, TestStore};
use crate::base::id::CompanyId;
use crate::calls::{CallFilter, CallKind, CallRecord, CallStage};
use crate::storage::{CallerHistory, DEFAULT_COMPANY_ID};

fn call(id: &str, at_ms: i64) -> CallRecord {
    CallRecord::new(CallKind::Call, DEFAULT_COMPANY_ID, "default", id, CallStage::Ended, at_ms)
}

fn filter() -> CallFilter {
    CallFilter {
        kind: CallKind::Call,
        company: None,
        agent_id: None,
        include_tests: false,
        since_ms: None,
        until_ms: None,
        limit: 10,
    }
}

async fn list_ids(store: &TestStore, filter: CallFilter) -> Vec<String> {
    store.list_calls(filter).await.unwrap().into_iter().map(|call| call.call_id).collect()
}

pub(in crate::storage) async fn events_of_a_call_are_merged_into_one_record(store: TestStore) {
    let ended = CallRecord { summary: Some("asked for the weather".into()), ..call("call_1", NOW_MS) };
    let started = CallRecord {
        stage: CallStage::Started,
        from_number: Some("+12025550143".into()),
        ..call("call_1", NOW_MS - 60_000)
    };
    let mut expected = ended.clone();
    expected.merge(started.clone());
    for record in [&ended, &started, &ended] {
        store.merge_call(record.clone()).await.unwrap();
    }
    let store = store.restart().await;
    assert_eq!(store.get_call(CallKind::Call, "call_1").await.unwrap(), Some(expected.clone()));
    assert_eq!(store.list_calls(filter()).await.unwrap(), [CallRecord { summary: None, ..expected }], "without texts");
    assert_eq!(store.get_call(CallKind::Chat, "call_1").await.unwrap(), None);
}

pub(in crate::storage) async fn calls_are_listed_by_their_latest_event(store: TestStore) {
    let company = store.get_or_create_company_ids(vec!["acme".into()]).await.unwrap()[0];
    let of_company = CallRecord { company_id: company, company: "acme".into(), ..call("call_acme", NOW_MS + 3) };
    let of_agent = CallRecord { agent_id: Some("agent_1".into()), ..call("call_agent", NOW_MS + 2) };
    for record in [call("call_old", NOW_MS), of_company, of_agent, call("call_test_1", NOW_MS + 4)] {
        store.merge_call(record).await.unwrap();
    }
    let chat = CallRecord { kind: CallKind::Chat, ..call("chat_1", NOW_MS) };
    store.merge_call(chat).await.unwrap();
    assert_eq!(list_ids(&store, filter()).await, ["call_acme", "call_agent", "call_old"]);
    assert_eq!(list_ids(&store, CallFilter { limit: 1, ..filter() }).await, ["call_acme"]);
    assert_eq!(list_ids(&store, CallFilter { company: Some("acme".into()), ..filter() }).await, ["call_acme"]);
    let later = i64::MAX;
    assert!(list_ids(&store, CallFilter { since_ms: Some(later), ..filter() }).await.is_empty());
    assert!(list_ids(&store, CallFilter { until_ms: Some(i64::MIN), ..filter() }).await.is_empty());
    assert_eq!(
        list_ids(&store, CallFilter { until_ms: Some(later), ..filter() }).await,
        list_ids(&store, filter()).await
    );
    assert_eq!(list_ids(&store, CallFilter { agent_id: Some("agent_1".into()), ..filter() }).await, ["call_agent"]);
    assert_eq!(list_ids(&store, CallFilter { include_tests: true, ..filter() }).await[0], "call_test_1");
    assert_eq!(list_ids(&store, CallFilter { kind: CallKind::Chat, ..filter() }).await, ["chat_1"]);
}

pub(in crate::storage) async fn a_customer_is_the_caller_or_the_callee(store: TestStore) {
    let (customer, own) = ("+12025550143", "+12025550199");
    let with_numbers = |id: &str, at_ms, direction: &str, from: &str, to: &str| CallRecord {
        direction: Some(direction.into()),
        from_number: Some(from.into()),
        to_number: Some(to.into()),
        started_at_ms: Some(at_ms),
        summary: Some(format!("summary of {id}")),
        ..call(id, at_ms)
    };
    store.merge_call(with_numbers("call_in", NOW_MS, "inbound", customer, own)).await.unwrap();
    store.merge_call(with_numbers("call_out", NOW_MS + 5, "outbound", own, customer)).await.unwrap();
    store.merge_call(with_numbers("call_other", NOW_MS + 9, "inbound", "+12025550100", own)).await.unwrap();
    let history = store.caller_history(DEFAULT_COMPANY_ID, customer).await.unwrap();
    assert_eq!((history.call_count, history.last_call_at_ms), (2, Some(NOW_MS + 5)));
    assert_eq!(history.last_summary.as_deref(), Some("summary of call_out"));
    for (company, number) in [(DEFAULT_COMPANY_ID, own), (CompanyId::new(2), customer)] {
        assert_eq!(store.caller_history(company, number).await.unwrap(), CallerHistory::default(), "{number}");
    }
}
