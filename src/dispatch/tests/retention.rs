//! Retention as one of several receivers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::base::clock::Clock;
use crate::base::id::{EventIdGenerator, InstanceId};
use crate::base::supervise::Supervisor;
use crate::config::StorageUrl;
use crate::dispatch::{RetentionRule, RetentionRules, RetentionTask};
use crate::storage::{
    self, CompanyScope, DEFAULT_COMPANY_ID, Duty, DutyLeader, EventFilter, NewEvent, RetentionKind, Role,
    ScriptedLeadership,
};

const NOW_MS: i64 = 1_790_000_000_000;
const DAY_MS: i64 = 86_400_000;

#[tokio::test]
async fn nothing_is_removed_while_another_receiver_leads() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let url = StorageUrl::file(folder.path().join("store.db"));
    let store = storage::open(&url, Role::Receiver, &supervisor).unwrap();
    let received_at_ms = NOW_MS - 10 * DAY_MS;
    let id = EventIdGenerator::default().next_id(received_at_ms);
    store.append(NewEvent::new(id, DEFAULT_COMPANY_ID, received_at_ms, "{}")).await.unwrap();
    let rule = |days| {
        let companies = CompanyScope::AllExcept(Vec::new());
        let age_rules = vec![RetentionRule { kind: RetentionKind::Events, companies, days }];
        RetentionRules { age_rules, ..RetentionRules::default() }
    };
    let (leadership, mut requests) = ScriptedLeadership::new();
    let (rules, receiver) = watch::channel(rule(1));
    let task = RetentionTask {
        leader: DutyLeader::new(leadership, Duty::Retention, InstanceId::random()),
        store: store.clone(),
        journal: store.clone(),
        clock: Clock::from_fn(|| NOW_MS),
        supervisor: supervisor.clone(),
        removed_counts: Arc::default(),
        rules: receiver,
    };
    task.start();
    let event_count = async || store.list_events(EventFilter::default()).await.unwrap().len();
    requests.recv().await.unwrap().send(false).unwrap();
    rules.send(rule(2)).unwrap();
    let second = requests.recv().await.unwrap();
    assert_eq!(event_count().await, 1, "the first pass removed nothing");
    second.send(true).unwrap();
    let removed = async {
        while event_count().await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), removed).await.expect("the leader removes old events");
    supervisor.stop();
}
