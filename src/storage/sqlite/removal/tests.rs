use crate::base::id::CompanyId;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::operator::OperatorRemoval;
use crate::storage::sqlite::wal::SyncState;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::*;

const DAY_MS: i64 = 86_400_000;
pub(super) const START_MS: i64 = 1_790_000_000_000;

pub(super) struct RemovalFixture {
    pub(super) folder: tempfile::TempDir,
    supervisor: Supervisor,
    pub(super) store: SqliteStore,
    ids: EventIdGenerator,
}

fn new_event(ids: &EventIdGenerator, at_ms: i64, call: &str, body: &[u8]) -> NewEvent {
    NewEvent {
        kind: Some("call_ended".into()),
        call_id: Some(call.into()),
        revisable: true,
        ..NewEvent::new(ids.next_id(at_ms), DEFAULT_COMPANY_ID, at_ms, Bytes::copy_from_slice(body))
    }
}

pub(super) fn large_body(byte: u8) -> Vec<u8> {
    vec![byte; 20_000]
}

impl RemovalFixture {
    pub(super) fn new() -> Self {
        let (folder, supervisor) = (tempfile::tempdir().unwrap(), Supervisor::default());
        let store = SqliteStore::open(&store_url(folder.path()), &supervisor).unwrap();
        Self { folder, supervisor, store, ids: EventIdGenerator::default() }
    }

    pub(super) async fn restart(self) -> Self {
        self.store.close().await.unwrap();
        let store = SqliteStore::open(&store_url(self.folder.path()), &self.supervisor).unwrap();
        Self { store, ..self }
    }

    pub(super) async fn append(&self, day: i64, call: &str, body: &[u8]) -> AppendOutcome {
        self.store.append(new_event(&self.ids, START_MS + day * DAY_MS, call, body)).await.unwrap()
    }

    pub(super) async fn register_handler(&self) -> HandlerId {
        let row = HandlerRow { name: "handler".into(), ordered: true, ordering_timeout_ms: 0 };
        self.store.register_handler(row).await.unwrap()
    }

    /// Plans the deliveries of the next events, at most `limit`, and claims `claimed` of them.
    pub(super) async fn plan_and_claim(
        &self,
        handler: HandlerId,
        limit: usize,
        planned: &[Seq],
        claimed: usize,
    ) -> Vec<ClaimedDelivery> {
        let batch = self.store.next_plan_batch(handler, limit, false).await.unwrap().unwrap();
        let planned = planned.iter().map(|seq| PlannedDelivery::new(*seq));
        self.store.plan_deliveries(handler, batch.token, planned.collect(), START_MS).await.unwrap();
        let claim = ClaimRequest {
            now_ms: START_MS,
            lease_until_ms: START_MS + 1,
            due_before_ms: START_MS,
            limit: claimed,
            prefer_untried: false,
            limit_per_company: claimed,
            prefetched_by_company: std::collections::BTreeMap::new(),
            limit_bytes: 1_000,
            after_company_id: CompanyId::new(0),
        };
        self.store.claim_deliveries(handler, claim).await.unwrap()
    }

    fn purge_request(kind: RetentionKind, day: i64) -> PurgeBatch {
        PurgeBatch {
            kind,
            company_scope: CompanyScope::AllExcept(Vec::new()),
            before_ms: START_MS + day * DAY_MS,
            cursor: PurgeCursor::default(),
            limit: 3,
            protecting_handlers: None,
            now_ms: START_MS + day * DAY_MS,
        }
    }

    /// Purges all batches and returns the number of removed rows.
    async fn purge_all(&self, mut purge: PurgeBatch) -> u64 {
        let mut removed = 0;
        loop {
            let purged = self.store.purge_batch(purge.clone()).await.unwrap();
            // A batch that takes too long ends earlier.
            assert!(purged.removed <= purge.limit as u64);
            removed += purged.removed;
            let Some(after) = purged.next_cursor else { return removed };
            purge.cursor = after;
        }
    }

    pub(super) async fn list_remaining_seqs(&self) -> Vec<i64> {
        let events = self.store.export_events(Position::START, EventFilter::default()).await.unwrap();
        assert!(events.iter().all(|event| event.body.is_ok()), "{events:?}");
        events.iter().map(|event| event.summary.seq.0).collect()
    }

    pub(super) async fn query_i64(&self, sql: &'static str) -> i64 {
        let read = move |reader: &crate::storage::sqlite::readers::ReaderContext| {
            Ok(reader.conn.query_row(sql, [], |row| row.get(0))?)
        };
        self.store.readers.read(read).await.unwrap()
    }

    pub(super) async fn flush_index(&self) {
        crate::storage::sqlite::identity::index::flush(self.store.writer().unwrap()).await.unwrap();
    }

    pub(super) fn open_removal(&self) -> OperatorRemoval {
        let url = store_url(self.folder.path());
        OperatorRemoval::open(&url, &SyncState::of_command(&url)).unwrap()
    }

    fn body_file_path(&self, number: i64) -> PathBuf {
        self.folder.path().join(format!("store.db-bodies/{number:08}.bodies"))
    }
}

fn store_url(folder: &Path) -> SqliteUrl {
    SqliteUrl::file(folder.join("store.db"))
}

#[tokio::test]
async fn events_are_purged_by_age_in_batches_and_their_numbers_are_not_reused() {
    let fixture = RemovalFixture::new();
    for day in 0..10 {
        fixture.append(day, &format!("call_{day}"), format!("body {day}").as_bytes()).await;
    }
    fixture.flush_index().await;
    assert_eq!(fixture.purge_all(RemovalFixture::purge_request(RetentionKind::Events, 8)).await, 8);
    assert_eq!(fixture.list_remaining_seqs().await, [9, 10]);
    assert_eq!(fixture.query_i64("SELECT count(*) FROM event_keys").await, 4);
    assert_eq!(fixture.purge_all(RemovalFixture::purge_request(RetentionKind::Events, 100)).await, 2);
    let overview = fixture.store.overview(START_MS + 10 * DAY_MS).await.unwrap();
    assert_eq!((overview.accepted, overview.accepted_last_hour), (10, 0));
    let fixture = fixture.restart().await;
    fixture.append(20, "call_20", b"later").await;
    assert_eq!(fixture.list_remaining_seqs().await, [11]);
    let overview = fixture.store.overview(START_MS + 20 * DAY_MS + 1).await.unwrap();
    assert_eq!((overview.accepted, overview.accepted_last_hour), (11, 1));
}

#[tokio::test]
async fn a_purged_event_is_new_when_it_is_sent_again() {
    for indexed in [false, true] {
        let fixture = RemovalFixture::new();
        let stored = AppendOutcome::Stored { revision: false, unparsed: false };
        assert_eq!(fixture.append(0, "call_1", b"one").await, stored);
        assert!(matches!(fixture.append(0, "call_1", b"one").await, AppendOutcome::Duplicate { .. }));
        assert!(matches!(fixture.append(0, "call_1", b"two").await, AppendOutcome::Stored { revision: true, .. }));
        if indexed {
            fixture.flush_index().await;
        }
        assert_eq!(fixture.purge_all(RemovalFixture::purge_request(RetentionKind::Events, 1)).await, 2);
        assert_eq!(fixture.query_i64("SELECT count(*) FROM duplicates").await, 0);
        // Neither the caches nor the index may still know the purged event.
        assert_eq!(fixture.append(2, "call_1", b"one").await, stored, "indexed: {indexed}");
        assert!(
            matches!(fixture.append(2, "call_1", b"one").await, AppendOutcome::Duplicate { .. }),
            "indexed: {indexed}"
        );
        assert!(matches!(fixture.append(2, "call_1", b"two").await, AppendOutcome::Stored { revision: true, .. }));
        fixture.flush_index().await;
        let fixture = fixture.restart().await;
        assert!(matches!(fixture.append(2, "call_1", b"two").await, AppendOutcome::Duplicate { .. }));
    }
}

#[tokio::test]
async fn a_revision_outlives_the_first() {
    let fixture = RemovalFixture::new();
    fixture.append(0, "call_1", b"one").await;
    fixture.append(2, "call_1", b"two").await;
    fixture.purge_all(RemovalFixture::purge_request(RetentionKind::Events, 1)).await;
    let left = fixture.store.list_events(EventFilter::default()).await.unwrap();
    assert_eq!((left.len(), left[0].revision_of), (1, None));
}

#[tokio::test]
async fn deliveries_attempts_calls_and_rejected_requests_have_separate_limits() {
    let fixture = RemovalFixture::new();
    fixture
        .store
        .writer()
        .unwrap()
        .write(|state| {
            Ok(state.conn.execute_batch(
                "INSERT INTO handlers (name, since, through) VALUES ('h', 0, 9);
                 INSERT INTO events (id, identity, company_id, received_at_ms, origin, state, size_bytes)
                   VALUES (x'00000000000000000000000000000001', zeroblob(16), 1, 0, 0, 0, 0),
                     (x'00000000000000000000000000000002', zeroblob(16), 1, 0, 0, 0, 0);
                 INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, attempts, since_ms,
                     updated_ms, replay)
                   VALUES (1, 1, 3, 1, -1, 1, 0, 10, 0), (1, 2, 2, 1, -2, 1, 0, 10, 0);
                 INSERT INTO attempts (handler_id, event_seq, started_at_ms, attempt, duration_ms, outcome)
                   VALUES (1, 1, 10, 1, 0, 'done'), (1, 2, 10, 1, 0, 'retry');
                 INSERT INTO calls (key, company_id, call_id, test, stage, first_event_at_ms, last_event_at_ms)
                   VALUES (0, 1, 'a', 0, 1, 5, 10), (0, 1, 'b', 0, 1, 5, 10), (0, 1, 'call_test_c', 1, 1, 5, 10),
                     (0, 1, 'd', 0, 1, 5, 10), (0, 2, 'e', 0, 1, 5, 10), (0, 1, 'f', 0, 1, 5, 20);
                 INSERT INTO chats (key, company_id, call_id, test, stage, first_event_at_ms, last_event_at_ms)
                   VALUES (0, 1, 'chat', 0, 1, 5, 10);
                 INSERT INTO rejected (company, received_at_ms, method, path, headers, reason, diagnosis)
                   VALUES (NULL, 10, 'POST', '/', '{}', '', ''), (NULL, 20, 'POST', '/', '{}', '', '');",
            )?)
        })
        .await
        .unwrap();
    let purge = |kind, before_ms| PurgeBatch { before_ms, ..RemovalFixture::purge_request(kind, 0) };
    assert_eq!(fixture.purge_all(purge(RetentionKind::Attempts, 10)).await, 0);
    assert_eq!(
        fixture.purge_all(purge(RetentionKind::Attempts, 11)).await,
        1,
        "attempts of an unfinished delivery stay"
    );
    assert_eq!(fixture.purge_all(purge(RetentionKind::Deliveries, 11)).await, 1);
    // The lack of a delivery no longer means that the filter left the event out.
    let id = crate::base::id::EventId::from_bytes(std::array::from_fn(|at| u8::from(at == 15)));
    assert_eq!(fixture.store.delivery_outlooks(id).await.unwrap(), [("h".to_owned(), DeliveryOutlook::Removed)]);
    let own = PurgeBatch {
        company_scope: CompanyScope::AllExcept(vec!["default".into()]),
        ..purge(RetentionKind::Calls, 15)
    };
    assert_eq!(fixture.purge_all(own).await, 1, "the call of company 2");
    assert_eq!(fixture.purge_all(purge(RetentionKind::Calls, 15)).await, 5);
    assert_eq!(fixture.query_i64("SELECT count(*) FROM calls").await, 1);
    assert_eq!(fixture.query_i64("SELECT count(*) FROM chats").await, 0);
    assert_eq!(fixture.purge_all(purge(RetentionKind::Rejected, 15)).await, 1);
    assert_eq!(fixture.query_i64("SELECT count(*) FROM rejected").await, 1);
}

#[tokio::test]
async fn disk_space_is_released() {
    let fixture = RemovalFixture::new();
    let (small, big) = (vec![b's'; 3_000], large_body(b'l'));
    for number in 0..400 {
        let call = format!("call_{number}");
        let body = [number.to_string().as_bytes(), if number % 2 == 0 { &small[..] } else { &big }].concat();
        fixture.append(number / 100, &call, &body).await;
    }
    let bytes = || {
        (super::allocated_bytes(&fixture.body_file_path(1)), std::fs::metadata(fixture.folder.path().join("store.db")))
    };
    let full = fixture.store.used_bytes().await.unwrap();
    let big_file = bytes().0;
    fixture.purge_all(RemovalFixture::purge_request(RetentionKind::Events, 3)).await;
    assert!(fixture.store.used_bytes().await.unwrap() < full / 2);
    while fixture.store.reclaim_space(i64::MAX).await.unwrap() {}
    assert!(bytes().0 < big_file / 3, "{} of {big_file}", bytes().0);
    assert_eq!(fixture.query_i64("SELECT count(*) FROM freed_bodies").await, 0);
    assert!(fixture.query_i64("PRAGMA freelist_count").await <= 64);
    assert_eq!(fixture.list_remaining_seqs().await.len(), 100);
    // The remaining bodies are intact, also after a restart, and new bodies do not overwrite them.
    let fixture = fixture.restart().await;
    assert!(std::fs::metadata(fixture.folder.path().join("store.db")).unwrap().len() < 800_000);
    fixture.append(9, "call_new", &large_body(b'n')).await;
    let events = fixture.store.export_events(Position::START, EventFilter::default()).await.unwrap();
    assert!(
        events.iter().all(|event| event.body.as_ref().is_ok_and(|body| body.len() as u64 == event.summary.size_bytes))
    );
}

#[tokio::test]
async fn a_body_file_without_bodies_is_deleted_and_its_number_not_reused() {
    let fixture = RemovalFixture::new();
    fixture.append(0, "call_1", &large_body(b'a')).await;
    fixture.store.close().await.unwrap();
    std::fs::write(fixture.body_file_path(2), b"").unwrap();
    let fixture = RemovalFixture {
        store: SqliteStore::open(&store_url(fixture.folder.path()), &fixture.supervisor).unwrap(),
        ..fixture
    };
    fixture.append(2, "call_2", &large_body(b'b')).await;
    fixture.purge_all(RemovalFixture::purge_request(RetentionKind::Events, 1)).await;
    assert!(!fixture.store.reclaim_space(i64::MAX).await.unwrap());
    assert!(!fixture.body_file_path(1).exists() && fixture.body_file_path(2).exists());
    fixture.purge_all(RemovalFixture::purge_request(RetentionKind::Events, 9)).await;
    while fixture.store.reclaim_space(i64::MAX).await.unwrap() {}
    let fixture = fixture.restart().await;
    fixture.append(9, "call_3", &large_body(b'c')).await;
    assert!(!fixture.body_file_path(1).exists() && fixture.body_file_path(2).exists());
    assert_eq!(fixture.list_remaining_seqs().await.len(), 1);
}

#[tokio::test]
async fn space_of_freed_bodies_is_not_reused_before_it_is_reclaimed() {
    let fixture = RemovalFixture::new();
    fixture.append(0, "call_1", &large_body(b'a')).await;
    fixture.purge_all(RemovalFixture::purge_request(RetentionKind::Events, 1)).await;
    let fixture = fixture.restart().await;
    fixture.append(2, "call_2", &large_body(b'b')).await;
    while fixture.store.reclaim_space(i64::MAX).await.unwrap() {}
    assert_eq!(fixture.list_remaining_seqs().await, [2]);
}
