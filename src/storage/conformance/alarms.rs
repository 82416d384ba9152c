//! Raised alarms and hourly event counts, see [`AlarmStore`](crate::storage::AlarmStore).

use super::TestStore;
use crate::base::id::CompanyId;
use crate::storage::{ActivityRow, AlarmKind, AlarmRow, DEFAULT_COMPANY_ID};

fn alarm(kind: AlarmKind, subject: &str, since_ms: i64) -> AlarmRow {
    let text = "it is broken".to_owned();
    AlarmRow { kind, subject: subject.to_owned(), since_ms, last_notified_ms: since_ms + 1, text }
}

pub(in crate::storage) async fn alarms_are_raised_and_resolved_one_by_one(store: TestStore) {
    let disk = alarm(AlarmKind::Disk, "", 5);
    let crm = alarm(AlarmKind::BreakerOpen, "crm", 3);
    let mail = alarm(AlarmKind::BreakerOpen, "mail", 4);
    for raised in [&disk, &crm, &mail] {
        store.raise_alarm(raised.clone()).await.unwrap();
    }
    assert_eq!(store.list_alarms().await.unwrap(), [crm.clone(), mail.clone(), disk.clone()], "the first one first");
    let reminded = AlarmRow { last_notified_ms: 100, text: "it is still broken".to_owned(), ..crm.clone() };
    store.raise_alarm(reminded.clone()).await.unwrap();
    store.resolve_alarm(AlarmKind::BreakerOpen, "mail".to_owned()).await.unwrap();
    store.resolve_alarm(AlarmKind::Silence, "crm".to_owned()).await.unwrap();
    let store = store.restart().await;
    assert_eq!(store.list_alarms().await.unwrap(), [reminded, disk]);
}

pub(in crate::storage) async fn event_counts_are_added_and_old_hours_deleted(store: TestStore) {
    let row = |agent: Option<&str>, hour, event_count| ActivityRow {
        company_id: DEFAULT_COMPANY_ID,
        agent_id: agent.map(str::to_owned),
        hour,
        event_count,
        last_event_at_ms: hour * 3_600_000,
    };
    let earlier = ActivityRow { last_event_at_ms: 7, ..row(None, 8, 3) };
    let other_company = ActivityRow { company_id: CompanyId::new(2), ..row(None, 8, 1) };
    store.add_activity(vec![row(None, 7, 1), row(None, 8, 2), row(Some("agent_1"), 8, 1)], None).await.unwrap();
    store.add_activity(vec![earlier, other_company.clone()], Some(8)).await.unwrap();
    let store = store.restart().await;
    let mut listed = store.list_activity().await.unwrap();
    listed.sort_by_key(|row| (row.company_id, row.agent_id.clone()));
    assert_eq!(listed, [row(None, 8, 5), row(Some("agent_1"), 8, 1), other_company]);
}
