use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Removal;
use crate::base::id::EventIds;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::*;

const DAY_MS: i64 = 86_400_000;
pub(super) const START_MS: i64 = 1_790_000_000_000;

pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    supervisor: Supervisor,
    pub(super) store: SqliteStore,
    ids: EventIds,
}

fn event(ids: &EventIds, at_ms: i64, call: &str, body: &[u8]) -> NewEvent {
    NewEvent {
        event: Some("call_ended".into()),
        call_id: Some(call.into()),
        revisable: true,
        ..NewEvent::new(ids.next(at_ms), DEFAULT_COMPANY, at_ms, Bytes::copy_from_slice(body))
    }
}

pub(super) fn large(byte: u8) -> Vec<u8> {
    vec![byte; 20_000]
}

impl World {
    pub(super) fn new() -> Self {
        let (folder, supervisor) = (tempfile::tempdir().unwrap(), Supervisor::default());
        let store = SqliteStore::open(&url(folder.path()), &supervisor).unwrap();
        Self { folder, supervisor, store, ids: EventIds::default() }
    }

    pub(super) async fn restart(self) -> Self {
        self.store.close().await.unwrap();
        let store = SqliteStore::open(&url(self.folder.path()), &self.supervisor).unwrap();
        Self { store, ..self }
    }

    pub(super) async fn append(&self, day: i64, call: &str, body: &[u8]) -> Appended {
        self.store.append(event(&self.ids, START_MS + day * DAY_MS, call, body)).await.unwrap()
    }

    pub(super) async fn handler(&self) -> HandlerId {
        let row = HandlerRow { name: "handler".into(), ordered: true, hold_ms: 0 };
        self.store.register_handler(row).await.unwrap()
    }

    fn purge(kept: Kept, day: i64) -> Purge {
        Purge {
            kept,
            companies: Companies::AllBut(Vec::new()),
            before_ms: START_MS + day * DAY_MS,
            after: PurgeCursor::default(),
            limit: 3,
            handlers: None,
            now_ms: START_MS + day * DAY_MS,
        }
    }

    /// All batches; how many rows each removed.
    async fn run(&self, mut purge: Purge) -> Vec<u64> {
        let mut batches = Vec::new();
        loop {
            let purged = self.store.purge(purge.clone()).await.unwrap();
            batches.push(purged.removed);
            let Some(after) = purged.next else { return batches };
            purge.after = after;
        }
    }

    pub(super) async fn kept(&self) -> Vec<i64> {
        let events = self.store.export(0, EventFilter::default()).await.unwrap();
        assert!(events.iter().all(|event| event.body.is_ok()), "{events:?}");
        events.iter().map(|event| event.summary.seq).collect()
    }

    pub(super) async fn count(&self, sql: &'static str) -> i64 {
        let read = move |reader: &crate::storage::sqlite::readers::Reader| {
            Ok(reader.conn.query_row(sql, [], |row| row.get(0))?)
        };
        self.store.readers.read(read).await.unwrap()
    }

    pub(super) async fn write_index(&self) {
        crate::storage::sqlite::index::write_out(self.store.writer().unwrap()).await.unwrap();
    }

    pub(super) fn removal(&self) -> Removal {
        Removal::open(&url(self.folder.path())).unwrap()
    }

    fn bodies(&self, number: i64) -> PathBuf {
        self.folder.path().join(format!("store.db-bodies/{number:08}.bodies"))
    }
}

fn url(folder: &Path) -> SqliteUrl {
    SqliteUrl::file(folder.join("store.db"))
}

#[tokio::test]
async fn events_go_by_age_in_bounded_batches_and_their_numbers_stay_used() {
    let world = World::new();
    for day in 0..10 {
        world.append(day, &format!("call_{day}"), format!("body {day}").as_bytes()).await;
    }
    world.write_index().await;
    assert_eq!(world.run(World::purge(Kept::Events, 8)).await, [3, 3, 2]);
    assert_eq!(world.kept().await, [9, 10]);
    assert_eq!(world.count("SELECT count(*) FROM event_keys").await, 4);
    assert_eq!(world.run(World::purge(Kept::Events, 100)).await, [2]);
    let overview = world.store.overview(START_MS + 10 * DAY_MS).await.unwrap();
    assert_eq!((overview.accepted, overview.accepted_last_hour), (10, 0));
    let world = world.restart().await;
    world.append(20, "call_20", b"later").await;
    assert_eq!(world.kept().await, [11]);
    let overview = world.store.overview(START_MS + 20 * DAY_MS + 1).await.unwrap();
    assert_eq!((overview.accepted, overview.accepted_last_hour), (11, 1));
}

#[tokio::test]
async fn what_was_purged_is_new_when_it_comes_again() {
    for indexed in [false, true] {
        let world = World::new();
        let stored = Appended::Stored { revision: false, unparsed: false };
        assert_eq!(world.append(0, "call_1", b"one").await, stored);
        assert!(matches!(world.append(0, "call_1", b"one").await, Appended::Duplicate { .. }));
        assert!(matches!(world.append(0, "call_1", b"two").await, Appended::Stored { revision: true, .. }));
        if indexed {
            world.write_index().await;
        }
        assert_eq!(world.run(World::purge(Kept::Events, 1)).await, [2]);
        assert_eq!(world.count("SELECT count(*) FROM duplicates").await, 0);
        // The second time it is known again, whatever memory still held of the first.
        assert_eq!(world.append(2, "call_1", b"one").await, stored, "indexed: {indexed}");
        assert!(matches!(world.append(2, "call_1", b"one").await, Appended::Duplicate { .. }), "indexed: {indexed}");
        assert!(matches!(world.append(2, "call_1", b"two").await, Appended::Stored { revision: true, .. }));
        world.write_index().await;
        let world = world.restart().await;
        assert!(matches!(world.append(2, "call_1", b"two").await, Appended::Duplicate { .. }));
    }
}

#[tokio::test]
async fn a_revision_outlives_the_first() {
    let world = World::new();
    world.append(0, "call_1", b"one").await;
    world.append(2, "call_1", b"two").await;
    world.run(World::purge(Kept::Events, 1)).await;
    let left = world.store.events(EventFilter::default()).await.unwrap();
    assert_eq!((left.len(), left[0].revision_of), (1, None));
}

#[tokio::test]
async fn unfinished_deliveries_protect_their_event() {
    let world = World::new();
    let handler = world.handler().await;
    for call in ["call_1", "call_2", "call_3", "call_4"] {
        world.append(0, call, call.as_bytes()).await;
    }
    let planned = |seq| Planned { seq, skipped: None, supersedes: false };
    // The fourth was not looked at yet.
    world.store.plan(handler, vec![planned(1), planned(2)], 3, START_MS).await.unwrap();
    assert_eq!(world.run(World::purge(Kept::Events, 1)).await.iter().sum::<u64>(), 1);
    assert_eq!(world.kept().await, [1, 2, 4]);
    let settled = |seq, settlement| Settled { seq, settlement, attempt: None };
    let claim = Claim {
        now_ms: START_MS,
        lease_until_ms: START_MS + 1,
        due_before_ms: START_MS,
        limit: 9,
        limit_each: 9,
        waiting: std::collections::BTreeMap::new(),
        limit_bytes: 1_000,
        company_after: 0,
    };
    assert_eq!(world.store.claim(handler, claim).await.unwrap().len(), 2);
    assert_eq!(world.run(World::purge(Kept::Events, 1)).await, [0], "under way");
    let dead = settled(1, Settlement::Dead { error: "gone".into() });
    world.store.settle(handler, vec![dead, settled(2, Settlement::Succeeded)], START_MS).await.unwrap();
    // A handler that is none any more protects nothing.
    let of_nobody = Purge { handlers: Some(Vec::new()), ..World::purge(Kept::Events, 1) };
    assert_eq!(world.run(World::purge(Kept::Events, 1)).await, [2], "a dead letter goes with its event");
    assert_eq!(world.run(of_nobody).await, [1]);
    assert_eq!(world.count("SELECT count(*) FROM deliveries").await, 0);
}

#[tokio::test]
async fn deliveries_attempts_calls_and_refused_requests_have_their_own_ages() {
    let world = World::new();
    world
        .store
        .writer()
        .unwrap()
        .write(|state| {
            Ok(state.conn.execute_batch(
                "INSERT INTO handlers (name, since, through) VALUES ('h', 0, 9);
                 INSERT INTO events (id, identity, company_id, received_at_ms, state, size_bytes, body)
                   VALUES (x'00000000000000000000000000000001', zeroblob(16), 1, 0, 'stored', 0, x''),
                     (x'00000000000000000000000000000002', zeroblob(16), 1, 0, 'stored', 0, x'');
                 INSERT INTO deliveries (handler_id, event_seq, state, company_id, lane, attempts, since_ms, updated_ms, replay)
                   VALUES (1, 1, 3, 1, -1, 1, 0, 10, 0), (1, 2, 2, 1, -2, 1, 0, 10, 0);
                 INSERT INTO attempts (handler_id, event_seq, started_at_ms, attempt, duration_ms, outcome)
                   VALUES (1, 1, 10, 1, 0, 'done'), (1, 2, 10, 1, 0, 'retry');
                 INSERT INTO calls (company_id, call_id, stage, transfers, first_event_at_ms, last_event_at_ms)
                   VALUES (1, 'a', 1, '{}', 5, 10), (1, 'b', 1, '{}', 5, 10), (1, 'c', 1, '{}', 5, 10), (1, 'd', 1, '{}', 5, 10),
                     (2, 'e', 1, '{}', 5, 10), (1, 'f', 1, '{}', 5, 20);
                 INSERT INTO chats (company_id, call_id, stage, transfers, first_event_at_ms, last_event_at_ms)
                   VALUES (1, 'chat', 1, '{}', 5, 10);
                 INSERT INTO call_texts (kind, company_id, call_id, summary)
                   VALUES ('call', 1, 'a', 'words'), ('chat', 1, 'chat', 'words'), ('call', 1, 'f', 'words');
                 INSERT INTO rejected (company, received_at_ms, method, path, headers, reason, diagnosis)
                   VALUES (NULL, 10, 'POST', '/', '{}', '', ''), (NULL, 20, 'POST', '/', '{}', '', '');",
            )?)
        })
        .await
        .unwrap();
    let purge = |kept, before_ms| Purge { before_ms, ..World::purge(kept, 0) };
    assert_eq!(world.run(purge(Kept::Attempts, 10)).await, [0]);
    assert_eq!(world.run(purge(Kept::Attempts, 11)).await, [1], "those of an unfinished delivery stay");
    assert_eq!(world.run(purge(Kept::Deliveries, 11)).await, [1]);
    // That there is none does not say any more that the handler did not want it.
    let id = crate::base::id::EventId::from_bytes(std::array::from_fn(|at| u8::from(at == 15)));
    assert_eq!(world.store.fates(id).await.unwrap(), [("h".to_owned(), Fate::Removed)]);
    let own = Purge { companies: Companies::AllBut(vec!["default".into()]), ..purge(Kept::Calls, 15) };
    assert_eq!(world.run(own).await.iter().sum::<u64>(), 1, "the one of company 2");
    assert_eq!(world.run(purge(Kept::Calls, 15)).await, [3, 2]);
    for rows in ["SELECT count(*) FROM calls", "SELECT count(*) FROM call_texts"] {
        assert_eq!(world.count(rows).await, 1, "{rows}");
    }
    assert_eq!(world.run(purge(Kept::Rejected, 15)).await, [1]);
    assert_eq!(world.count("SELECT count(*) FROM rejected").await, 1);
}

#[tokio::test]
async fn companies_are_told_apart() {
    let world = World::new();
    let ids = world.store.company_ids(vec!["acme".into(), "other".into()]).await.unwrap();
    for (company_id, name) in [(ids[0], "a"), (ids[1], "o"), (DEFAULT_COMPANY, "d")] {
        let event = event(&world.ids, START_MS, "call_1", name.as_bytes());
        world.store.append(NewEvent { company_id, ..event }).await.unwrap();
    }
    let purge = |companies| Purge { companies, ..World::purge(Kept::Events, 1) };
    assert_eq!(world.run(purge(Companies::Only(vec!["nobody".into()]))).await, [0, 0]);
    assert_eq!(world.run(purge(Companies::Only(vec!["acme".into()]))).await, [1, 0]);
    assert_eq!(world.run(purge(Companies::AllBut(vec!["default".into()]))).await, [1]);
    let left = world.store.events(EventFilter::default()).await.unwrap();
    assert_eq!(left.iter().map(|event| event.company.as_str()).collect::<Vec<_>>(), ["default"]);
}

#[tokio::test]
async fn space_goes_back_to_the_file_system() {
    let world = World::new();
    let (small, big) = (vec![b's'; 3_000], large(b'l'));
    for number in 0..400 {
        let call = format!("call_{number}");
        let body = [number.to_string().as_bytes(), if number % 2 == 0 { &small[..] } else { &big }].concat();
        world.append(number / 100, &call, &body).await;
    }
    let bytes = || (super::allocated(&world.bodies(1)), std::fs::metadata(world.folder.path().join("store.db")));
    let full = world.store.used_bytes().await.unwrap();
    let big_file = bytes().0;
    world.run(World::purge(Kept::Events, 3)).await;
    assert!(world.store.used_bytes().await.unwrap() < full / 2);
    while world.store.give_back_space(i64::MAX).await.unwrap() {}
    assert!(bytes().0 < big_file / 3, "{} of {big_file}", bytes().0);
    assert_eq!(world.count("SELECT count(*) FROM freed_bodies").await, 0);
    assert!(world.count("PRAGMA freelist_count").await <= 64);
    assert_eq!(world.kept().await.len(), 100);
    // What remains is whole, also after a restart, and new bodies do not lie over old ones.
    let world = world.restart().await;
    assert!(std::fs::metadata(world.folder.path().join("store.db")).unwrap().len() < 800_000);
    world.append(9, "call_new", &large(b'n')).await;
    let kept = world.store.export(0, EventFilter::default()).await.unwrap();
    assert!(
        kept.iter().all(|event| event.body.as_ref().is_ok_and(|body| body.len() as u64 == event.summary.size_bytes))
    );
}

#[tokio::test]
async fn a_file_without_bodies_is_deleted_and_its_number_not_used_again() {
    let world = World::new();
    world.append(0, "call_1", &large(b'a')).await;
    world.store.close().await.unwrap();
    std::fs::write(world.bodies(2), b"").unwrap();
    let world = World { store: SqliteStore::open(&url(world.folder.path()), &world.supervisor).unwrap(), ..world };
    world.append(2, "call_2", &large(b'b')).await;
    world.run(World::purge(Kept::Events, 1)).await;
    assert!(!world.store.give_back_space(i64::MAX).await.unwrap());
    assert!(!world.bodies(1).exists() && world.bodies(2).exists());
    world.run(World::purge(Kept::Events, 9)).await;
    while world.store.give_back_space(i64::MAX).await.unwrap() {}
    let world = world.restart().await;
    world.append(9, "call_3", &large(b'c')).await;
    assert!(!world.bodies(1).exists() && world.bodies(2).exists());
    assert_eq!(world.kept().await.len(), 1);
}

#[tokio::test]
async fn bodies_that_are_about_to_be_cleared_are_not_written_over_after_a_restart() {
    let world = World::new();
    world.append(0, "call_1", &large(b'a')).await;
    world.run(World::purge(Kept::Events, 1)).await;
    let world = world.restart().await;
    world.append(2, "call_2", &large(b'b')).await;
    while world.store.give_back_space(i64::MAX).await.unwrap() {}
    assert_eq!(world.kept().await, [2]);
}
