//! The alarm checks of one of several receivers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{AlarmMonitorDeps, AlarmStatus, start};
use crate::base::clock::Clock;
use crate::base::current::Current;
use crate::base::id::InstanceId;
use crate::base::supervise::Supervisor;
use crate::config::{AlarmSettings, StorageUrl};
use crate::dispatch::{DispatchDeps, Workers};
use crate::storage::{
    self, ActivityRow, AlarmKind, AlarmRow, AlarmStore, DEFAULT_COMPANY_ID, Duty, DutyLeader, Role, ScriptedLeadership,
    Store, StoreError,
};
use crate::telemetry::deliveries::DeliveryMetrics;
use crate::telemetry::requests::RequestCounters;
use crate::tenants::{Company, CompanyDirectory};

const NOW_MS: i64 = 1_790_000_000_000;

/// Fails the first writes of event counts.
struct FailingAlarmStore {
    store: Arc<dyn Store>,
    failures_left: AtomicU32,
}

#[async_trait]
impl AlarmStore for FailingAlarmStore {
    async fn raise_alarm(&self, alarm: AlarmRow) -> Result<(), StoreError> {
        self.store.raise_alarm(alarm).await
    }

    async fn resolve_alarm(&self, kind: AlarmKind, subject: String) -> Result<(), StoreError> {
        self.store.resolve_alarm(kind, subject).await
    }

    async fn list_alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        self.store.list_alarms().await
    }

    async fn add_activity(&self, counts: Vec<ActivityRow>, forget_before: Option<i64>) -> Result<(), StoreError> {
        let left = self.failures_left.load(Ordering::Relaxed);
        if left > 0 {
            self.failures_left.store(left - 1, Ordering::Relaxed);
            return Err(StoreError::unavailable("the disk is gone"));
        }
        self.store.add_activity(counts, forget_before).await
    }

    async fn list_activity(&self) -> Result<Vec<ActivityRow>, StoreError> {
        self.store.list_activity().await
    }
}

fn start_monitor(
    store: &Arc<dyn Store>,
    alarms: Arc<dyn AlarmStore>,
    counters: &Arc<RequestCounters>,
    leader: DutyLeader,
    folder: &std::path::Path,
    supervisor: &Supervisor,
) -> AlarmStatus {
    let clock = Clock::from_fn(|| NOW_MS);
    let workers = Workers::new(DispatchDeps {
        queue: store.clone(),
        journal: store.clone(),
        clock: clock.clone(),
        supervisor: supervisor.clone(),
        delivery_metrics: DeliveryMetrics::default(),
    });
    let company = Company {
        id: DEFAULT_COMPANY_ID,
        slug: "default".into(),
        agent_ids: Vec::new(),
        has_development_key_only: false,
        verifier: None,
        signing_key: None,
    };
    let status = AlarmStatus::default();
    // The disk always has less than 100% of free space, which raises an alarm.
    let settings = AlarmSettings {
        check_interval: Duration::from_millis(100),
        disk_free_percent: 100,
        ..AlarmSettings::default()
    };
    let deps = AlarmMonitorDeps {
        settings: Current::new(settings),
        workers,
        leader,
        alarms,
        deliveries: store.clone(),
        journal: store.clone(),
        counters: Arc::clone(counters),
        companies: Current::new(CompanyDirectory::new(company, Vec::new())),
        clock,
        store_folder: folder.to_owned(),
        status: status.clone(),
    };
    start(deps, supervisor);
    status
}

#[tokio::test]
async fn only_the_leader_checks_and_continues_with_the_alarms_of_the_previous_one() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let url = StorageUrl::file(folder.path().join("store.db"));
    let store = storage::open(&url, Role::Receiver, &supervisor).unwrap();
    let (leadership, mut requests) = ScriptedLeadership::new();
    let leader = DutyLeader::new(leadership, Duty::Alarms, InstanceId::random());
    let status = start_monitor(&store, store.clone(), &Arc::default(), leader, folder.path(), &supervisor);
    let first = requests.recv().await.unwrap();
    let raised = AlarmRow {
        kind: AlarmKind::Disk,
        subject: String::new(),
        since_ms: NOW_MS - 60_000,
        last_notified_ms: NOW_MS - 60_000,
        text: "raised by the other receiver".into(),
    };
    store.raise_alarm(raised.clone()).await.unwrap();
    first.send(false).unwrap();
    let second = requests.recv().await.unwrap();
    assert_eq!(store.list_alarms().await.unwrap(), std::slice::from_ref(&raised));
    assert!(!status.is_raised(AlarmKind::Disk), "it has not checked");
    second.send(true).unwrap();
    let checked = async {
        while store.list_alarms().await.unwrap()[0].text == raised.text {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), checked).await.expect("the leader checks");
    let alarms = store.list_alarms().await.unwrap();
    assert_eq!((alarms.len(), alarms[0].since_ms), (1, raised.since_ms), "it is not raised a second time");
    assert!(status.is_raised(AlarmKind::Disk));
    supervisor.stop();
}

#[tokio::test]
async fn counts_that_could_not_be_stored_are_added_once_later() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let url = StorageUrl::file(folder.path().join("store.db"));
    let store = storage::open(&url, Role::Receiver, &supervisor).unwrap();
    let alarms = Arc::new(FailingAlarmStore { store: store.clone(), failures_left: AtomicU32::new(2) });
    let counters: Arc<RequestCounters> = Arc::default();
    counters.activity().record_event(DEFAULT_COMPANY_ID, None, NOW_MS);
    counters.activity().record_event(DEFAULT_COMPANY_ID, None, NOW_MS);
    let leader = DutyLeader::new(store.clone(), Duty::Alarms, InstanceId::random());
    start_monitor(&store, alarms.clone(), &counters, leader, folder.path(), &supervisor);
    let stored = async |expected: u64| {
        let is_stored = async || {
            let rows = store.list_activity().await.unwrap();
            assert!(rows.len() <= 1, "{rows:?}");
            rows.first().is_some_and(|row| row.event_count == expected)
        };
        while !is_stored().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let both = async {
        stored(2).await;
        counters.activity().record_event(DEFAULT_COMPANY_ID, None, NOW_MS);
        stored(3).await;
    };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("the counts are stored");
    assert_eq!(alarms.failures_left.load(Ordering::Relaxed), 0);
    supervisor.stop();
}
