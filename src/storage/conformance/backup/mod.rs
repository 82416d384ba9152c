//! Copies of the store, and the persons of the erasure log, see [`BackupStore`](crate::storage::BackupStore).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{NOW_MS, TestStore};
use crate::storage::backup::{BackupRecord, CopyRun};
use crate::storage::{
    DEFAULT_COMPANY_ID, DataSubject, EventFilter, Position, Role, StoredEvent, check_copy, open_copy, read_erasure_log,
};

fn copy_run() -> Arc<CopyRun> {
    Arc::new(CopyRun::new(u64::MAX, CancellationToken::new()))
}

async fn bodies_of(folder: &Path) -> Vec<Vec<u8>> {
    let copy = open_copy(folder, &crate::base::supervise::Supervisor::default()).unwrap();
    let events = copy.export_events(Position::START, EventFilter::default()).await.unwrap();
    events.iter().map(|StoredEvent { body, .. }| body.as_ref().unwrap().to_vec()).collect()
}

pub(in crate::storage) async fn a_copy_has_the_events_of_its_moment(store: TestStore) {
    let bodies = ["small".to_owned(), "x".repeat(50_000), "y".repeat(5_000)];
    for (number, body) in bodies.iter().enumerate() {
        store.append(store.new_event(&format!("call_{number}"), body)).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let operator = store.open_as(Role::Operator);
    let copy = operator.copy_to(folder.path().to_owned(), copy_run()).await.unwrap();
    store.append(store.new_event("call_later", "later")).await.unwrap();
    assert_eq!((copy.counts.events, copy.counts.large_bodies, copy.damaged_events.len()), (3, 2, 0));
    let check = check_copy(folder.path(), &copy_run()).unwrap();
    assert_eq!((check.counts, check.store_id, check.problems.len()), (copy.counts, copy.store_id, 0));
    assert_eq!(check.damaged_events, []);
    assert_eq!(bodies_of(folder.path()).await, bodies.map(String::into_bytes));
}

pub(in crate::storage) async fn a_stopped_copy_fails_and_the_store_is_unchanged(store: TestStore) {
    store.append(store.new_event("call_1", &"x".repeat(50_000))).await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    let folder = tempfile::tempdir().unwrap();
    let run = Arc::new(CopyRun::new(u64::MAX, stop));
    assert!(store.copy_to(folder.path().to_owned(), run).await.is_err());
    store.append(store.new_event("call_2", "after")).await.unwrap();
}

pub(in crate::storage) async fn recorded_backups_are_listed_until_they_are_forgotten(store: TestStore) {
    let [first, second] = [(2, "/backups/b"), (1, "/backups/a")]
        .map(|(taken_at_ms, folder)| BackupRecord { folder: folder.to_owned(), taken_at_ms });
    store.record_backup(first.clone()).await.unwrap();
    store.record_backup(second.clone()).await.unwrap();
    store.record_backup(second.clone()).await.unwrap();
    assert_eq!(store.list_backups().await.unwrap(), [second.clone(), first.clone()]);
    store.forget_backups(vec![second.folder]).await.unwrap();
    assert_eq!(store.list_backups().await.unwrap(), [first]);
}

pub(in crate::storage) async fn logged_persons_are_found_by_their_digests(store: TestStore) {
    let by_number = store.append_event(store.new_event("call_1", "from +1 (202) 555-0143")).await;
    let by_call = store.append_event(store.new_event("call_2", "no number")).await;
    store.append(store.new_event("call_3", "from +12025550144")).await.unwrap();
    let operator = store.open_as(Role::Operator);
    let mut person = DataSubject::new(Some("+12025550143".parse().unwrap()), None);
    person.add_calls([(DEFAULT_COMPANY_ID, "call_2".to_owned()), (DEFAULT_COMPANY_ID, "call_unknown".to_owned())]);
    let mut log = operator.open_erasure_log(NOW_MS).await.unwrap();
    log.append(&person, NOW_MS).unwrap();
    drop(log);
    let entries = read_erasure_log(&store.url).unwrap().unwrap().entries;
    let found = operator.find_logged_persons(entries.into_iter().map(|(_, entry)| entry).collect()).await.unwrap();
    let mut seqs = BTreeSet::new();
    for person in found {
        let calls = person.calls().clone();
        seqs.extend(operator.list_event_seqs_of_calls(calls).await.unwrap());
        if person.has_number() {
            seqs.extend(operator.scan_journal(person, Position::START).await.unwrap().matching_seqs);
        }
    }
    assert_eq!(seqs, BTreeSet::from([by_number, by_call]));
}
