//! What a start does with body files that do not end where the database says.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::inspection::{BodyFileFinding, inspect};
use super::transaction_header::HEADER_BYTES;
use super::{BodyFileReader, body_file_path, list_file_numbers};
use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::{SqliteStore, SqliteUrl, open};
use crate::storage::{
    BodyErrorKind, DEFAULT_COMPANY_ID, EventFilter, Journal, Maintenance, NewEvent, Position, StoredEvent,
};

const BODY_BYTES: u64 = 10_000;
const TRANSACTION_BYTES: u64 = HEADER_BYTES + BODY_BYTES;

/// A store that is opened and closed again for each step, as by restarts.
struct BodyFixture {
    folder: tempfile::TempDir,
    ids: EventIdGenerator,
}

fn body(number: u8) -> Vec<u8> {
    let mut body = vec![b'x'; usize::try_from(BODY_BYTES).unwrap()];
    body[0] = number;
    body
}

impl BodyFixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), ids: EventIdGenerator::default() }
    }

    fn url(&self) -> SqliteUrl {
        SqliteUrl::file(self.folder.path().join("store.db"))
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.url(), &Supervisor::default()).unwrap()
    }

    fn body_file(&self, number: i64) -> PathBuf {
        body_file_path(&self.url().bodies_folder(), number)
    }

    fn file_bytes(&self, number: i64) -> u64 {
        std::fs::metadata(self.body_file(number)).unwrap().len()
    }

    fn file_numbers(&self) -> Vec<i64> {
        list_file_numbers(&self.url().bodies_folder()).unwrap()
    }

    /// Starts the store, stores one event per number, each in a separate transaction, and stops it.
    async fn append(&self, numbers: impl IntoIterator<Item = u8>) {
        let store = self.open();
        for number in numbers {
            let event = NewEvent::new(self.ids.next_id(1), DEFAULT_COMPANY_ID, 1, Bytes::from(body(number)));
            store.append(event).await.unwrap();
        }
        store.close().await.unwrap();
    }

    async fn read_all(&self) -> Vec<StoredEvent> {
        let store = self.open();
        let events = store.export_events(Position::START, EventFilter::default()).await.unwrap();
        store.close().await.unwrap();
        events
    }

    /// The numbers of the events whose bodies are intact.
    async fn intact(&self) -> Vec<u8> {
        let events = self.read_all().await;
        events.iter().filter_map(|event| event.body.as_ref().ok()).map(|body| body[0]).collect()
    }

    fn findings(&self) -> Vec<BodyFileFinding> {
        let conn = open::open_reader(&self.url()).unwrap();
        let key = open::load_identity_key(&conn).unwrap();
        inspect(&self.url().bodies_folder(), &conn, &key).unwrap()
    }

    fn copy_database(&self, name: &str) -> PathBuf {
        let copy = self.folder.path().join(name);
        // Complete without the write-ahead log.
        let conn = open::open_reader(&self.url()).unwrap();
        conn.execute("VACUUM INTO ?1", [copy.to_str()]).unwrap();
        copy
    }

    /// Puts another database in place, as an operator does while the receiver is stopped.
    fn put_database(&self, copy: &Path) {
        self.remove_database();
        std::fs::copy(copy, self.url().path()).unwrap();
    }

    fn remove_database(&self) {
        std::fs::remove_file(self.url().path()).unwrap();
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(self.url().path_with_suffix(suffix));
        }
    }
}

#[tokio::test]
async fn the_torn_tail_of_one_transaction_is_cut_off() {
    // A transaction that wrote its bodies and did not commit: its database is put back to the state before it.
    for left_bytes in [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 5_000, TRANSACTION_BYTES] {
        let fixture = BodyFixture::new();
        fixture.append([1]).await;
        let before = fixture.copy_database("before");
        fixture.append([2]).await;
        fixture.put_database(&before);
        let file = std::fs::OpenOptions::new().write(true).open(fixture.body_file(1)).unwrap();
        file.set_len(TRANSACTION_BYTES + left_bytes).unwrap();
        fixture.append([]).await;
        assert_eq!((fixture.file_bytes(1), fixture.file_numbers()), (TRANSACTION_BYTES, vec![1]), "{left_bytes}");
        fixture.append([3]).await;
        assert_eq!(fixture.intact().await, [1, 3]);
        assert_eq!(fixture.findings(), []);
    }
}

#[tokio::test]
async fn an_older_database_keeps_the_bodies_of_a_newer_one() {
    let fixture = BodyFixture::new();
    fixture.append(0..10).await;
    let older = fixture.copy_database("older");
    fixture.append(10..20).await;
    let newer = fixture.copy_database("newer");

    fixture.put_database(&older);
    fixture.append([100]).await;
    let unreferenced = BodyFileFinding::UnreferencedBytes {
        path: fixture.body_file(1),
        referenced_bytes: 10 * TRANSACTION_BYTES,
        unreferenced_bytes: 10 * TRANSACTION_BYTES,
    };
    assert_eq!((fixture.file_numbers(), fixture.findings()), (vec![1, 2], vec![unreferenced]));
    assert_eq!(fixture.intact().await, (0..10).chain([100]).collect::<Vec<_>>());

    fixture.put_database(&newer);
    assert_eq!(fixture.intact().await, (0..20).collect::<Vec<_>>());
    // The file that the older database began has an acknowledged event, and stays as well.
    assert!(matches!(&fixture.findings()[..], [BodyFileFinding::UnreferencedBytes { path, .. }]
        if *path == fixture.body_file(2)));
    fixture.append([101]).await;
    fixture.put_database(&older);
    assert_eq!(fixture.file_bytes(2), TRANSACTION_BYTES);
}

#[tokio::test]
async fn a_missing_database_keeps_all_bodies() {
    for events in [1, 20] {
        let fixture = BodyFixture::new();
        fixture.append(0..events).await;
        let database = fixture.copy_database("complete");
        fixture.remove_database();
        fixture.append([100]).await;
        assert_eq!((fixture.file_numbers(), fixture.intact().await), (vec![1, 2], vec![100]));
        assert_eq!(fixture.findings().len(), 1);
        fixture.put_database(&database);
        assert_eq!(fixture.intact().await, (0..events).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn the_database_of_another_store_changes_no_body_file() {
    let (fixture, other) = (BodyFixture::new(), BodyFixture::new());
    fixture.append(0..20).await;
    other.append(50..55).await;
    let database = fixture.copy_database("complete");
    fixture.put_database(&other.copy_database("other"));
    let events = fixture.read_all().await;
    let kinds: Vec<_> = events.iter().map(|event| event.body.as_ref().unwrap_err().kind).collect();
    assert_eq!(kinds, [BodyErrorKind::Damaged; 5], "no body of the first store is taken for one of the other");
    fixture.append([100]).await;
    assert_eq!(fixture.findings().len(), 1);
    fixture.put_database(&database);
    assert_eq!(fixture.intact().await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn older_body_files_are_neither_filled_up_nor_lost() {
    let fixture = BodyFixture::new();
    fixture.append(0..10).await;
    let older = std::fs::read(fixture.body_file(1)).unwrap();
    fixture.append(10..20).await;
    let newer = std::fs::read(fixture.body_file(1)).unwrap();
    std::fs::write(fixture.body_file(1), older).unwrap();
    fixture.append([100]).await;
    let events = fixture.read_all().await;
    assert_eq!(events.iter().filter(|event| event.body.is_ok()).count(), 11);
    assert_eq!(events[19].body.as_ref().unwrap_err().kind, BodyErrorKind::Gone);
    let missing = BodyFileFinding::MissingBodies {
        path: fixture.body_file(1),
        expected_bytes: 20 * TRANSACTION_BYTES,
        found_bytes: 10 * TRANSACTION_BYTES,
    };
    assert_eq!(fixture.findings(), [missing]);
    std::fs::write(fixture.body_file(1), newer).unwrap();
    assert_eq!(fixture.intact().await, (0..20).chain([100]).collect::<Vec<_>>());
    assert_eq!(fixture.findings(), []);
}

#[tokio::test]
async fn a_file_that_appears_later_is_never_opened_for_new_bodies() {
    let fixture = BodyFixture::new();
    fixture.append([1]).await;
    std::fs::write(fixture.body_file(2), b"bodies of another store").unwrap();
    fixture.append([2]).await;
    assert_eq!(fixture.file_numbers(), [1, 2, 3]);
    assert_eq!(std::fs::read(fixture.body_file(2)).unwrap(), b"bodies of another store");
    assert_eq!(super::files::create_file(&fixture.url().bodies_folder(), 2).unwrap().0, 4);
}

#[tokio::test]
async fn each_changed_bit_of_a_body_is_noticed() {
    let fixture = BodyFixture::new();
    fixture.append([1, 2]).await;
    let intact = std::fs::read(fixture.body_file(1)).unwrap();
    for at in [HEADER_BYTES, HEADER_BYTES + 5_000, TRANSACTION_BYTES - 1] {
        let mut damaged = intact.clone();
        damaged[usize::try_from(at).unwrap()] ^= 1;
        std::fs::write(fixture.body_file(1), damaged).unwrap();
        let events = fixture.read_all().await;
        assert_eq!(events[0].body.as_ref().unwrap_err().kind, BodyErrorKind::Damaged);
        assert!(events[1].body.is_ok(), "the next event is not affected");
    }
    std::fs::write(fixture.body_file(1), intact).unwrap();
    let conn = rusqlite::Connection::open(fixture.url().path()).unwrap();
    conn.execute("UPDATE events SET company_id = 7 WHERE seq = 2", []).unwrap();
    let events = fixture.read_all().await;
    assert!(events[0].body.is_ok());
    assert_eq!(events[1].body.as_ref().unwrap_err().kind, BodyErrorKind::Damaged, "the event of another company");
}

#[tokio::test]
async fn a_damaged_identity_key_is_reported_and_not_used() {
    let fixture = BodyFixture::new();
    fixture.append([1]).await;
    let conn = rusqlite::Connection::open(fixture.url().path()).unwrap();
    conn.execute("UPDATE identity_key SET key = zeroblob(32)", []).unwrap();
    let error = SqliteStore::open(&fixture.url(), &Supervisor::default()).err().unwrap().to_string();
    assert!(error.contains("identity_key is damaged"), "{error}");
}

#[test]
fn a_damaged_size_reserves_no_memory() {
    let fixture = BodyFixture::new();
    let reader = BodyFileReader::new(&fixture.url());
    let location = super::BodyLocation { file_number: 1, offset: u64::MAX - 1 };
    assert!(reader.read_damaged(location, usize::MAX).is_none());
}
