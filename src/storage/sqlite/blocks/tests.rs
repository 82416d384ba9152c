//! Stores whose bodies are compressed: reading, removal and damage.

use std::collections::BTreeSet;

use super::format::Block;
use super::{CompressionTask, compressor};
use crate::base::id::{EventId, EventIdGenerator};
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::operator::OperatorRemoval;
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::sqlite::wal::SyncState;
use crate::storage::sqlite::{SqliteStore, SqliteUrl, inspect};
use crate::storage::*;

struct BlockFixture {
    folder: tempfile::TempDir,
    ids: EventIdGenerator,
    supervisor: Supervisor,
    store: SqliteStore,
}

/// A body of a call that repeats the transcript so far, as Retell's events do.
fn transcript(call: &str, words: usize) -> Vec<u8> {
    let transcript: String = (0..words).map(|word| format!("word {word} of {call} ")).collect::<Vec<_>>().concat();
    format!(r#"{{"event":"call_ended","call":{{"call_id":"{call}","transcript":"{transcript}"}}}}"#).into_bytes()
}

impl BlockFixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::default();
        let store = SqliteStore::open(&SqliteUrl::file(folder.path().join("store.db")), &supervisor).unwrap();
        Self { folder, ids: EventIdGenerator::default(), supervisor, store }
    }

    async fn restart(self) -> Self {
        self.store.close().await.unwrap();
        let store = SqliteStore::open(&self.url(), &self.supervisor).unwrap();
        Self { store, ..self }
    }

    fn url(&self) -> SqliteUrl {
        SqliteUrl::file(self.folder.path().join("store.db"))
    }

    fn task(&self) -> CompressionTask {
        let sync = SyncState::of_command(&self.url());
        CompressionTask::new(&self.url(), self.store.writer().unwrap(), &sync, &self.supervisor).unwrap()
    }

    fn removal(&self) -> OperatorRemoval {
        OperatorRemoval::open(&self.url(), &SyncState::of_command(&self.url())).unwrap()
    }

    async fn append(&self, at_ms: i64, call: &str, body: &[u8]) -> EventId {
        let mut event = NewEvent::new(self.ids.next_id(at_ms), DEFAULT_COMPANY_ID, at_ms, body.to_vec());
        event.kind = Some("call_ended".into());
        event.call_id = Some(call.into());
        let id = event.id;
        assert!(matches!(self.store.append(event).await.unwrap(), AppendOutcome::Stored { .. }));
        id
    }

    async fn compress(&self) {
        self.task().compress_through(Seq(i64::MAX)).await.unwrap();
    }

    async fn export(&self) -> Vec<StoredEvent> {
        self.store.export_events(Position::START, EventFilter::default()).await.unwrap()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let read = move |reader: &ReaderContext| Ok(reader.conn.query_row(sql, [], |row| row.get(0))?);
        self.store.readers.read(read).await.unwrap()
    }

    fn find_problems(&self) -> Vec<String> {
        let inspection = inspect(&self.url(), InspectionDepth::Full, &mut |_, _, _| {}).unwrap();
        inspection.findings.iter().map(|finding| finding.text.clone()).collect()
    }

    async fn purge(&self, before_ms: i64) -> u64 {
        let mut purge = PurgeBatch {
            kind: RetentionKind::Events,
            before_ms,
            company_scope: CompanyScope::AllExcept(Vec::new()),
            protecting_handlers: None,
            cursor: PurgeCursor::default(),
            limit: 1_000,
            now_ms: before_ms,
        };
        let mut removed = 0;
        loop {
            let purged = self.store.purge_batch(purge.clone()).await.unwrap();
            removed += purged.removed;
            let Some(cursor) = purged.next_cursor else { return removed };
            purge.cursor = cursor;
        }
    }

    /// Erases the events and scrubs the files, as `erase` does.
    fn erase(&self, seqs: &[Seq]) {
        let mut removal = self.removal();
        removal.erase_events(seqs, 1).unwrap();
        assert!((0..100).any(|_| removal.scrub_files().unwrap()));
    }

    /// Whether any file of the store has the text, as it is or in a compressed block. Finds blocks within one page,
    /// also on a page that is not in use any more.
    fn has_text(&self, text: &str) -> bool {
        let contains = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        let mut files = vec![self.folder.path().to_owned()];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let frames = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
            let salvaged = frames.filter_map(|at| Block::salvage(&bytes[at..]));
            let mut in_blocks = salvaged.flat_map(|block| {
                block.seqs().into_iter().map(|seq| contains(block.body(seq).unwrap_or_default())).collect::<Vec<_>>()
            });
            if contains(&bytes) || in_blocks.any(|found| found) {
                return true;
            }
        }
        false
    }
}

#[tokio::test]
async fn compressed_bodies_are_read_back_byte_for_byte_and_take_a_fraction_of_their_size() {
    let fixture = BlockFixture::new();
    let mut bodies = Vec::new();
    for number in 0..120 {
        let call = format!("call_{}", number % 6);
        let body = [transcript(&call, number * 10), vec![0, 0xff, b'\n']].concat();
        fixture.append(1, &call, &body).await;
        bodies.push(body);
    }
    let huge = vec![b'x'; 400 * 1024];
    fixture.append(1, "call_huge", &huge).await;
    bodies.push(huge);
    let raw_bytes: usize = bodies.iter().map(Vec::len).sum();
    fixture.compress().await;
    fixture.task().release_space(true).await.unwrap();
    assert_eq!(fixture.count("SELECT count(*) FROM bodies").await, 0);
    assert_eq!(fixture.count("SELECT count(*) FROM freed_bodies").await, 0);
    assert!(fixture.count("SELECT sum(length(data)) FROM body_blocks").await < i64::try_from(raw_bytes).unwrap() / 10);
    assert!(fixture.store.used_bytes().await.unwrap() < raw_bytes as u64 / 2);
    let body_files = std::fs::read_dir(fixture.url().bodies_folder()).unwrap();
    assert_eq!(body_files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>(), 0);
    let fixture = fixture.restart().await;
    let exported: Vec<Vec<u8>> = fixture.export().await.into_iter().map(|event| event.body.unwrap().to_vec()).collect();
    assert!(exported == bodies);
    assert_eq!(fixture.find_problems(), [""; 0]);
    // The next events are stored and compressed behind them.
    let id = fixture.append(1, "call_1", b"later").await;
    fixture.compress().await;
    let later = fixture.store.get_event(id).await.unwrap().unwrap();
    assert_eq!(later.body.unwrap(), "later");
}

#[tokio::test]
async fn an_erased_body_is_in_no_block_and_no_file() {
    let fixture = BlockFixture::new();
    let secret = |size: usize| [transcript("call_gone", size), b"the secret words".to_vec()].concat();
    fixture.append(1, "call_gone", &secret(5)).await;
    fixture.append(1, "call_kept", &transcript("call_kept", 5)).await;
    fixture.append(1, "call_gone", &secret(1_000)).await;
    fixture.append(1, "call_alone", b"alone with the secret words").await;
    fixture.compress().await;
    assert!(fixture.has_text("secret words"));
    fixture.erase(&[Seq(1), Seq(3), Seq(4)]);
    assert!(!fixture.has_text("secret words"));
    assert_eq!(fixture.count("SELECT count(*) FROM block_removals").await, 0);
    let left = fixture.export().await;
    assert_eq!((left.len(), left[0].body.as_ref().unwrap()), (1, &transcript("call_kept", 5).into()));
    let again = NewEvent::new(fixture.ids.next_id(2), DEFAULT_COMPANY_ID, 2, secret(5));
    assert!(matches!(fixture.store.append(again).await.unwrap(), AppendOutcome::Duplicate { .. }));
    assert_eq!(fixture.restart().await.find_problems(), [""; 0]);
}

#[tokio::test]
async fn a_block_that_lost_some_bodies_is_written_again_and_one_that_lost_all_is_deleted() {
    let fixture = BlockFixture::new();
    for number in 0..200 {
        fixture.append(number, "call", format!("number {number} {}", fastrand::u128(..)).as_bytes()).await;
    }
    fixture.compress().await;
    let bytes = fixture.count("SELECT sum(length(data)) FROM body_blocks").await;
    let used = fixture.store.used_bytes().await.unwrap();
    assert_eq!(fixture.purge(150).await, 150);
    assert!(fixture.store.used_bytes().await.unwrap() < used, "without the removed bodies");
    while fixture.store.reclaim_space(151).await.unwrap() {}
    assert!(fixture.count("SELECT sum(length(data)) FROM body_blocks").await < bytes / 3);
    assert_eq!(fixture.count("SELECT count(*) FROM block_removals").await, 0);
    // Without the log of the receiver, which retention does not empty.
    let fixture = fixture.restart().await;
    assert!(!fixture.has_text("number 100 "));
    let left = fixture.export().await;
    assert!(left.len() == 50 && left.iter().all(|event| event.body.is_ok()));
    assert_eq!(fixture.purge(1_000).await, 50);
    for rows in ["SELECT count(*) FROM body_blocks", "SELECT count(*) FROM block_bodies"] {
        assert_eq!(fixture.count(rows).await, 0, "{rows}");
    }
    assert_eq!(fixture.count("SELECT count(*) FROM block_removals").await, 0);
}

#[tokio::test]
async fn a_damaged_block_concerns_its_own_events_and_can_be_erased() {
    let fixture = BlockFixture::new();
    for (call, words) in [("call_1", 3), ("call_2", 3)] {
        fixture.append(1, call, &transcript(call, words)).await;
        fixture.append(1, call, &transcript(call, words + 1)).await;
        fixture.compress().await;
    }
    fixture.append(1, "call_3", b"not compressed").await;
    let conn = rusqlite::Connection::open(fixture.url().path()).unwrap();
    conn.execute("UPDATE body_blocks SET data = substr(data, 1, length(data) - 4) WHERE id = 1", []).unwrap();
    let fixture = fixture.restart().await;
    let events = fixture.export().await;
    let errors: Vec<Option<BodyErrorKind>> =
        events.iter().map(|event| event.body.as_ref().err().map(|error| error.kind)).collect();
    let damaged = Some(BodyErrorKind::Damaged);
    assert_eq!(errors, [damaged, damaged, None, None, None]);
    let reason = events[0].body.as_ref().unwrap_err().to_string();
    assert!(reason.contains("block 1") && reason.contains("does not match its digest"), "{reason}");
    assert_eq!(fixture.find_problems().len(), 2);

    // Retention leaves it as it is until its last event is gone, an erasure does not.
    assert_eq!(fixture.removal().erase_events(&[Seq(1)], 1).unwrap().events, 1);
    assert!(
        !fixture.store.reclaim_space(i64::MAX).await.unwrap() || !fixture.store.reclaim_space(i64::MAX).await.unwrap()
    );
    assert_eq!(fixture.count("SELECT count(*) FROM block_removals").await, 1);
    fixture.erase(&[Seq(3)]);
    assert_eq!(fixture.count("SELECT count(*) FROM block_removals").await, 0);
    assert!(!fixture.has_text("word 1 of call_1"));
    let bodies: BTreeSet<bool> = fixture.export().await[1..].iter().map(|event| event.body.is_ok()).collect();
    assert_eq!(bodies, [true].into());
    fixture.erase(&[Seq(2), Seq(4)]);
    assert_eq!(fixture.count("SELECT count(*) FROM body_blocks").await, 0);
}

#[tokio::test]
async fn a_body_that_was_removed_meanwhile_is_not_brought_back() {
    let fixture = BlockFixture::new();
    fixture.append(1, "call_1", b"body to be erased").await;
    fixture.append(1, "call_2", b"two").await;
    let seqs = [Seq(1), Seq(2)];
    let compress = move |reader: &ReaderContext| compressor::compress(reader, &seqs);
    let block = fixture.store.readers.read(compress).await.unwrap().unwrap();
    fixture.erase(&[Seq(1)]);
    let insert = move |state: &mut _| block.insert(state, 1);
    assert!(!fixture.store.writer().unwrap().write(insert).await.unwrap());
    assert_eq!(fixture.count("SELECT count(*) FROM body_blocks").await, 0);
    fixture.compress().await;
    assert_eq!(fixture.count("SELECT count(*) FROM block_bodies").await, 1);
    assert!(!fixture.has_text("to be erased"));
}

#[tokio::test]
async fn a_damaged_body_is_not_compressed() {
    let fixture = BlockFixture::new();
    fixture.append(1, "call_1", b"one").await;
    fixture.append(1, "call_2", b"two").await;
    let conn = rusqlite::Connection::open(fixture.url().path()).unwrap();
    conn.execute("UPDATE bodies SET body = x'00' WHERE seq = 1", []).unwrap();
    fixture.compress().await;
    assert_eq!(fixture.count("SELECT seq FROM bodies").await, 1);
    conn.execute("UPDATE bodies SET body = CAST('one' AS BLOB) WHERE seq = 1", []).unwrap();
    fixture.compress().await;
    assert!(fixture.export().await.iter().all(|event| event.body.is_ok()));
    assert_eq!(fixture.count("SELECT count(*) FROM bodies").await, 0);
}
