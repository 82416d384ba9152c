//! The alarm checks of one of several receivers.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{AlarmMonitorDeps, AlarmStatus, start};
use crate::base::clock::Clock;
use crate::base::current::Current;
use crate::base::id::InstanceId;
use crate::base::supervise::Supervisor;
use crate::config::{AlarmSettings, StorageUrl};
use crate::dispatch::{DispatchDeps, Workers};
use crate::event::EventKind;
use crate::storage::{
    self, ActivityRow, AlarmKind, AlarmRow, AlarmStore, DEFAULT_COMPANY_ID, Duty, DutyLeader, Role, ScriptedLeadership,
    Store, StoreError,
};
use crate::telemetry::deliveries::DeliveryMetrics;
use crate::telemetry::requests::{IntakeOutcome, RequestCounters};
use crate::tenants::{Company, CompanyDirectory};

const NOW_MS: i64 = 1_790_000_000_000;

/// Fails the first writes of event counts, and the first reads of alarms.
struct FailingAlarmStore {
    store: Arc<dyn Store>,
    failures_left: AtomicU32,
    list_failures_left: AtomicU32,
}

fn fail_once(failures_left: &AtomicU32) -> Result<(), StoreError> {
    let left = failures_left.load(Ordering::Relaxed);
    failures_left.store(left.saturating_sub(1), Ordering::Relaxed);
    if left > 0 { Err(StoreError::unavailable("the disk is gone")) } else { Ok(()) }
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
        fail_once(&self.list_failures_left)?;
        self.store.list_alarms().await
    }

    async fn add_activity(&self, counts: Vec<ActivityRow>, forget_before: Option<i64>) -> Result<(), StoreError> {
        fail_once(&self.failures_left)?;
        self.store.add_activity(counts, forget_before).await
    }

    async fn list_activity(&self) -> Result<Vec<ActivityRow>, StoreError> {
        self.store.list_activity().await
    }
}

fn now_ms() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(NOW_MS))
}

fn start_monitor(
    store: &Arc<dyn Store>,
    alarms: Arc<dyn AlarmStore>,
    counters: &Arc<RequestCounters>,
    leader: DutyLeader,
    now_ms: &Arc<AtomicI64>,
    folder: &std::path::Path,
    supervisor: &Supervisor,
) -> AlarmStatus {
    let clock_ms = Arc::clone(now_ms);
    let clock = Clock::from_fn(move || clock_ms.load(Ordering::Relaxed));
    let workers = Workers::new(DispatchDeps {
        queue: store.clone(),
        journal: store.clone(),
        clock: clock.clone(),
        supervisor: supervisor.clone(),
        delivery_metrics: DeliveryMetrics::default(),
        is_only_receiver: true,
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
        store: store.clone(),
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
    let status = start_monitor(&store, store.clone(), &Arc::default(), leader, &now_ms(), folder.path(), &supervisor);
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
    let alarms = Arc::new(FailingAlarmStore {
        store: store.clone(),
        failures_left: AtomicU32::new(2),
        list_failures_left: AtomicU32::new(0),
    });
    let counters: Arc<RequestCounters> = Arc::default();
    counters.activity().record_event(DEFAULT_COMPANY_ID, None, NOW_MS);
    counters.activity().record_event(DEFAULT_COMPANY_ID, None, NOW_MS);
    let leader = DutyLeader::new(store.clone(), Duty::Alarms, InstanceId::random());
    start_monitor(&store, alarms.clone(), &counters, leader, &now_ms(), folder.path(), &supervisor);
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

#[tokio::test]
async fn stored_alarms_that_could_not_be_read_at_first_are_continued_and_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let url = StorageUrl::file(folder.path().join("store.db"));
    let store = storage::open(&url, Role::Receiver, &supervisor).unwrap();
    for (kind, subject) in [(AlarmKind::Disk, ""), (AlarmKind::BreakerOpen, "removed_handler")] {
        let since_ms = NOW_MS - 60_000;
        let text = "raised before the restart".to_owned();
        let row = AlarmRow { kind, subject: subject.to_owned(), since_ms, last_notified_ms: since_ms, text };
        store.raise_alarm(row).await.unwrap();
    }
    let alarms = Arc::new(FailingAlarmStore {
        store: store.clone(),
        failures_left: AtomicU32::new(0),
        list_failures_left: AtomicU32::new(2),
    });
    let leader = DutyLeader::new(store.clone(), Duty::Alarms, InstanceId::random());
    start_monitor(&store, alarms.clone(), &Arc::default(), leader, &now_ms(), folder.path(), &supervisor);
    let resolved = async {
        while store.list_alarms().await.unwrap().len() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), resolved).await.expect("the other alarm is resolved");
    let rows = store.list_alarms().await.unwrap();
    assert_eq!((rows[0].kind, rows[0].since_ms), (AlarmKind::Disk, NOW_MS - 60_000));
    assert_eq!(alarms.list_failures_left.load(Ordering::Relaxed), 0);
    supervisor.stop();
}

#[tokio::test]
async fn a_receiver_that_was_not_the_leader_knows_its_rates_and_all_event_counts_after_a_takeover() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let url = StorageUrl::file(folder.path().join("store.db"));
    let store = storage::open(&url, Role::Receiver, &supervisor).unwrap();
    let (leadership, mut requests) = ScriptedLeadership::new();
    let leader = DutyLeader::new(leadership, Duty::Alarms, InstanceId::random());
    let counters: Arc<RequestCounters> = Arc::default();
    let now_ms = now_ms();
    let status = start_monitor(&store, store.clone(), &counters, leader, &now_ms, folder.path(), &supervisor);
    let is_raised = async |kind| {
        let raised = async {
            while !status.is_raised(kind) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), raised).await.expect("it is raised");
    };
    requests.recv().await.unwrap().send(true).unwrap();
    is_raised(AlarmKind::Disk).await;
    counters.count_event(IntakeOutcome::NotStored, EventKind::Unknown, 2, Duration::ZERO);
    // Later than half of the term, so that it asks again.
    now_ms.fetch_add(200_000, Ordering::Relaxed);
    requests.recv().await.unwrap().send(false).unwrap();
    now_ms.fetch_add(600_000, Ordering::Relaxed);
    let next = requests.recv().await.unwrap();
    assert!(!status.is_raised(AlarmKind::Disk), "the leader reports it");
    next.send(false).unwrap();
    let next = requests.recv().await.unwrap();
    now_ms.fetch_add(15_000, Ordering::Relaxed);
    let hour = NOW_MS / 3_600_000;
    let row =
        ActivityRow { company_id: DEFAULT_COMPANY_ID, agent_id: None, hour, event_count: 7, last_event_at_ms: NOW_MS };
    store.add_activity(vec![row], None).await.unwrap();
    next.send(true).unwrap();
    is_raised(AlarmKind::Disk).await;
    assert!(!status.is_raised(AlarmKind::NotStored), "it was not within the last minute");
    let history = counters.activity().company_history(DEFAULT_COMPANY_ID).unwrap();
    assert_eq!(history.events_by_hour.get(&hour), Some(&7));
    supervisor.stop();
}
