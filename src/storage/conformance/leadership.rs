//! Leadership, see [`Leadership`](crate::storage::Leadership).

use futures_util::future::join_all;

use super::{NOW_MS, TestStore};
use crate::base::id::InstanceId;
use crate::storage::Duty;

const TERM_MS: i64 = 60_000;

async fn leads(store: &TestStore, duty: Duty, holder: &InstanceId, now_ms: i64) -> bool {
    store.try_lead(duty, holder, now_ms + TERM_MS, now_ms).await.unwrap()
}

pub(in crate::storage) async fn one_receiver_leads_until_its_term_ends(store: TestStore) {
    let (first, second) = (InstanceId::random(), InstanceId::random());
    assert!(leads(&store, Duty::Alarms, &first, NOW_MS).await);
    assert!(!leads(&store, Duty::Alarms, &second, NOW_MS).await);
    assert!(leads(&store, Duty::Retention, &second, NOW_MS).await, "each duty has its own leader");
    assert_eq!(store.find_leader(Duty::Alarms).await.unwrap().as_deref(), Some(first.as_str()));
    assert_eq!(store.find_leader(Duty::Requests).await.unwrap(), None);
    assert!(leads(&store, Duty::Alarms, &first, NOW_MS + 30_000).await, "the term is extended");
    assert!(!leads(&store, Duty::Alarms, &second, NOW_MS + 30_000 + TERM_MS - 1).await);
    assert!(leads(&store, Duty::Alarms, &second, NOW_MS + 30_000 + TERM_MS).await);
    assert!(!leads(&store, Duty::Alarms, &first, NOW_MS + 30_000 + TERM_MS).await);
    // The clock of the leader was set back.
    assert!(leads(&store, Duty::Alarms, &second, NOW_MS).await);
    assert!(!leads(&store, Duty::Alarms, &first, NOW_MS + TERM_MS - 1).await);
    assert!(leads(&store, Duty::Alarms, &first, NOW_MS + TERM_MS).await);
}

pub(in crate::storage) async fn one_of_several_concurrent_receivers_leads(store: TestStore) {
    let receivers: Vec<_> = (0..8).map(|_| InstanceId::random()).collect();
    let store = &store;
    for now_ms in [NOW_MS, NOW_MS + TERM_MS] {
        let leads = join_all(receivers.iter().map(|receiver| leads(store, Duty::Alarms, receiver, now_ms))).await;
        assert_eq!(leads.iter().filter(|leads| **leads).count(), 1, "{leads:?}");
    }
}

pub(in crate::storage) async fn only_the_leader_resigns(store: TestStore) {
    let (first, second) = (InstanceId::random(), InstanceId::random());
    assert!(leads(&store, Duty::Retention, &first, NOW_MS).await);
    assert!(leads(&store, Duty::Alarms, &first, NOW_MS).await);
    store.resign(Duty::Retention, &second).await.unwrap();
    assert!(!leads(&store, Duty::Retention, &second, NOW_MS).await);
    store.resign(Duty::Retention, &first).await.unwrap();
    assert!(leads(&store, Duty::Retention, &second, NOW_MS).await);
    assert!(!leads(&store, Duty::Alarms, &second, NOW_MS).await);
    store.resign(Duty::Retention, &first).await.unwrap();
    assert!(!leads(&store, Duty::Retention, &first, NOW_MS).await, "a former leader ends no other term");
}
