//! The alarm checks of one of several receivers.

use std::sync::Arc;
use std::time::Duration;

use super::{AlarmMonitorDeps, AlarmStatus, start};
use crate::base::clock::Clock;
use crate::base::current::Current;
use crate::base::id::InstanceId;
use crate::base::supervise::Supervisor;
use crate::config::{AlarmSettings, StorageUrl};
use crate::dispatch::{DispatchDeps, Workers};
use crate::storage::{
    self, AlarmKind, AlarmRow, DEFAULT_COMPANY_ID, Duty, DutyLeader, Role, ScriptedLeadership, Store,
};
use crate::telemetry::deliveries::DeliveryMetrics;
use crate::tenants::{Company, CompanyDirectory};

const NOW_MS: i64 = 1_790_000_000_000;

fn start_monitor(
    store: &Arc<dyn Store>,
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
        alarms: store.clone(),
        deliveries: store.clone(),
        journal: store.clone(),
        counters: Arc::default(),
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
    let status = start_monitor(&store, leader, folder.path(), &supervisor);
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
