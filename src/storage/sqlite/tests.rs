use crate::base::id::CompanyId;
use std::path::Path;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::*;
use crate::base::id::EventIdGenerator;
use crate::storage::*;

fn open(folder: &Path, supervisor: &Supervisor) -> SqliteStore {
    SqliteStore::open(&SqliteUrl::file(folder.join("store.db")), supervisor).unwrap()
}

fn event(identity: u8, body: &[u8]) -> NewEvent {
    NewEvent {
        kind: Some("call_ended".into()),
        call_id: Some("call_1".into()),
        revisable: true,
        ..NewEvent::new(
            EventIdGenerator::default().next_id(1_790_000_000_000 + i64::from(identity)),
            DEFAULT_COMPANY_ID,
            1_790_000_000_000,
            Bytes::copy_from_slice(body),
        )
    }
}

async fn bodies(store: &SqliteStore) -> Vec<Vec<u8>> {
    let events = store.export_events(Position::START, EventFilter::default()).await.unwrap();
    events.into_iter().map(|event| event.body.unwrap().to_vec()).collect()
}

#[tokio::test]
async fn a_failed_transaction_leaves_no_body_behind() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let store = open(folder.path(), &supervisor);
    let other = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.call_id IS NOT NULL
             BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
        )
        .unwrap();
    assert!(store.append(event(1, &[b'a'; 10_000])).await.is_err());
    assert_eq!(std::fs::metadata(folder.path().join("store.db-bodies/00000001.bodies")).unwrap().len(), 0);
    other.execute_batch("DROP TRIGGER refuse").unwrap();
    let stored = store.append(event(1, &[b'a'; 10_000])).await.unwrap();
    assert_eq!(stored, AppendOutcome::Stored { revision: false, unparsed: false });
    assert_eq!(bodies(&store).await, [vec![b'a'; 10_000]]);
}

#[tokio::test]
async fn duplicates_and_revisions_are_found_in_memory_and_in_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let store = open(folder.path(), &supervisor);
    let first = event(1, b"one");
    store.append(first.clone()).await.unwrap();
    let duplicate = AppendOutcome::Duplicate { original_id: first.id };
    let revision = AppendOutcome::Stored { revision: true, unparsed: false };
    assert_eq!(store.append(first.clone()).await.unwrap(), duplicate);
    assert_eq!(store.append(event(2, b"two")).await.unwrap(), revision);
    super::identity::index::flush(store.writer().unwrap()).await.unwrap();
    let unindexed = store.writer().unwrap().write(|state| Ok(state.recent_keys.len())).await.unwrap();
    assert_eq!(unindexed, 0);
    assert_eq!(store.append(first.clone()).await.unwrap(), duplicate);
    assert_eq!(store.append(event(3, b"three")).await.unwrap(), revision);
    let listed =
        store.list_events(EventFilter { call_id: Some("call_1".into()), ..EventFilter::default() }).await.unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed.iter().filter(|event| event.revision_of == Some(first.id)).count(), 2);
    assert_eq!(listed[2].duplicate_count, 2);
}

#[tokio::test]
async fn concurrent_events_share_commits() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let store = Arc::new(open(folder.path(), &supervisor));
    let before = store.writer().unwrap().status.transactions.load(Ordering::Relaxed);
    let all: Vec<_> = (0..200)
        .map(|identity| {
            let store = Arc::clone(&store);
            async move { store.append(event(identity, &[identity; 10])).await }
        })
        .collect();
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    let commits = store.writer().unwrap().status.transactions.load(Ordering::Relaxed) - before;
    assert!(commits < 100, "{commits} commits for 200 events");
    assert_eq!(bodies(&store).await.len(), 200);
}

#[tokio::test]
async fn company_discriminator_and_body_make_the_identity() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &Supervisor::default());
    let one = event(1, b"body");
    let identity = store.writer().unwrap().identity_key.identity(&one);
    assert_eq!(store.writer().unwrap().identity_key.identity(&event(2, b"body")), identity);
    assert_ne!(store.writer().unwrap().identity_key.identity(&event(1, b"body ")), identity);
    assert_ne!(
        store.writer().unwrap().identity_key.identity(&NewEvent { company_id: CompanyId::new(2), ..one.clone() }),
        identity
    );
    assert_ne!(
        store
            .writer()
            .unwrap()
            .identity_key
            .identity(&NewEvent { dedupe_discriminator: Some("v=1".into()), ..one.clone() }),
        identity
    );
    let elsewhere = tempfile::tempdir().unwrap();
    assert_ne!(open(elsewhere.path(), &Supervisor::default()).writer().unwrap().identity_key.identity(&one), identity);
}

#[tokio::test]
async fn a_write_that_does_not_fit_into_a_full_store_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let url = SqliteUrl { max_page_count: Some(100), ..SqliteUrl::file(folder.path().join("store.db")) };
    let store = SqliteStore::open(&url, &Supervisor::default()).unwrap();
    let writer = store.writer().unwrap();
    let write_too_much = || {
        writer.write(|state| {
            state.conn.execute("INSERT INTO probes (filler) VALUES (zeroblob(1000000))", [])?;
            Ok(())
        })
    };
    let (one, two, too_much, three) = tokio::join!(
        store.append(event(1, b"one")),
        store.append(event(2, b"two")),
        write_too_much(),
        store.append(event(3, b"three")),
    );
    assert!(matches!(&too_much, Err(error) if error.kind() == StoreErrorKind::Full), "{too_much:?}");
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(bodies(&store).await.len(), 3);
}

#[tokio::test]
async fn a_lost_body_is_reported_and_affects_no_other_event() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &Supervisor::default());
    store.append(event(1, &[b'a'; 10_000])).await.unwrap();
    store.append(event(2, b"small")).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    std::fs::remove_dir_all(folder.path().join("store.db-bodies")).unwrap();

    let again = open(folder.path(), &Supervisor::default());
    again.append(event(3, &vec![b'c'; 20_000])).await.unwrap();
    let events = again.export_events(Position::START, EventFilter::default()).await.unwrap();
    assert_eq!(events[0].body.as_ref().unwrap_err().kind, BodyErrorKind::Unreadable);
    assert_eq!(events[1].body.as_ref().unwrap(), &b"small"[..]);
    assert_eq!(events[2].body.as_ref().unwrap().len(), 20_000);
}

#[test]
fn a_database_of_another_program_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE users (id INTEGER)").unwrap();
    let error = SqliteStore::open(&SqliteUrl::file(&path), &Supervisor::default()).err().unwrap();
    assert!(error.to_string().contains("another program"), "{error}");
    let tables: i64 = other.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

/// The history of a caller is read while all other readers are busy.
#[tokio::test]
async fn a_live_read_does_not_wait_for_long_reads() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let url = SqliteUrl::file(folder.path().join("events.db"));
    let store = std::sync::Arc::new(SqliteStore::open(&url, &supervisor).unwrap());
    let (gate, closed) = std::sync::mpsc::channel::<()>();
    let closed = std::sync::Arc::new(std::sync::Mutex::new(closed));
    let mut busy = tokio::task::JoinSet::new();
    for _ in 0..READER_THREADS + 5 {
        let (store, closed) = (std::sync::Arc::clone(&store), std::sync::Arc::clone(&closed));
        busy.spawn(async move {
            store
                .readers
                .read(move |_| {
                    // Blocks until the gate is dropped.
                    let _ = closed.lock().unwrap().recv();
                    Ok(())
                })
                .await
        });
    }
    tokio::task::yield_now().await;
    let blocked =
        tokio::time::timeout(std::time::Duration::from_millis(100), store.list_events(EventFilter::default())).await;
    assert!(blocked.is_err(), "the readers are busy");
    let history = store.caller_history(CompanyId::new(1), "+12025550143").await.unwrap();
    assert_eq!(history, CallerHistory::default());
    drop(gate);
    while let Some(read) = busy.join_next().await {
        read.unwrap().unwrap();
    }
    store.close().await.unwrap();
}

fn new_database() -> (crate::config::StorageUrl, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (crate::config::StorageUrl::file(folder.path().join("store.db")), folder)
}

mod conformance {
    crate::storage::conformance::conformance_tests!(super::super::new_database);
}

#[tokio::test]
async fn an_outdated_ledger_is_to_be_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    open(folder.path(), &supervisor).close().await.unwrap();
    let url = SqliteUrl::file(folder.path().join("store.db"));
    let ledger = url.ledger_url();
    rusqlite::Connection::open(ledger.path()).unwrap().pragma_update(None, "user_version", 1).unwrap();
    let Err(error) = SqliteStore::open(&url, &supervisor) else { panic!("it was opened") };
    let error = error.to_string();
    assert!(error.contains(&ledger.path().display().to_string()) && error.contains("move it away"), "{error}");
    assert!(!error.contains("Export"), "a ledger has no events: {error}");
    let moved = folder.path().join("old.db");
    for suffix in ["", "-wal", "-shm"] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        // The log is missing when SQLite removed it with the last connection.
        let _ = std::fs::rename(name(ledger.path()), name(&moved));
    }
    assert!(open::open_ledger(&url).is_ok());
}

#[tokio::test]
async fn an_event_kept_in_memory_equals_the_stored_one() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::default();
    let store = open(folder.path(), &supervisor);
    let complete = NewEvent {
        agent_id: Some("agent_1".into()),
        dedupe_discriminator: Some("a".into()),
        source: Some("192.0.2.7".into()),
        content_type: Some("application/json".into()),
        query: Some("company=acme".into()),
        signature: Some(format!("v=1790000000000,d={}", "a1".repeat(32))),
        key_fingerprint: Some("0a1b2c3d".into()),
        origin: EventOrigin::Import,
        ..event(1, b"complete")
    };
    let revision = event(2, b"revision");
    let unparsed = NewEvent { unparsed: true, kind: None, call_id: None, ..event(3, b"unparsed") };
    let events = [complete, event(4, b"first"), revision, unparsed];
    for event in &events {
        store.append(event.clone()).await.unwrap();
    }
    let recent = store.plan_cache.recent();
    for after in 0..=4 {
        let stored =
            store.readers.read(move |reader| deliveries::list_events_after(reader, after, 10, true)).await.unwrap();
        assert_eq!(stored.len(), usize::try_from(4 - after).unwrap());
        match recent.list_after(after, 10, true, 0) {
            Some(kept) => assert_eq!(kept, stored, "after {after}"),
            None => assert!(after < 3, "the revision is read from the database"),
        }
    }
}
