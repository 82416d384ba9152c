//! Changes by a second process, and the order in a call.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::{OperatorStore, SqliteStore, SqliteUrl};
use crate::storage::{
    ClaimRequest, DEFAULT_COMPANY_ID, DeliveryBatch, DeliveryChange, DeliveryFilter, DeliveryState, HandlerId,
    HandlerRow, NewEvent, PlannedDelivery, SettledDelivery, Settlement, Store,
};

const NOW_MS: i64 = 1_790_000_000_000;
const ORDERING_TIMEOUT_MS: i64 = 60_000;

/// A receiver's store with one handler and six events of one call, and a second writer.
struct BulkOperationFixture {
    store: SqliteStore,
    operator_store: OperatorStore,
    handler: HandlerId,
    _folder: tempfile::TempDir,
}

impl BulkOperationFixture {
    async fn new(supervisor: &Supervisor) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = SqliteUrl::file(folder.path().join("events.db"));
        let store = SqliteStore::open(&url, supervisor).unwrap();
        let row = HandlerRow { name: "crm".into(), ordered: true, max_hold_ms: ORDERING_TIMEOUT_MS };
        let handler = store.register_handler(row).await.unwrap();
        let ids = EventIdGenerator::default();
        for number in 1..=6 {
            store.append(new_event(&ids, number)).await.unwrap();
        }
        Self { store, operator_store: OperatorStore::open(&url).unwrap(), handler, _folder: folder }
    }

    async fn plan(&self, seqs: impl IntoIterator<Item = i64>) {
        let planned: Vec<_> =
            seqs.into_iter().map(|seq| PlannedDelivery { seq, skip_reason: None, supersedes: false }).collect();
        let through = planned.last().map_or(0, |planned| planned.seq);
        self.store.plan_deliveries(self.handler, planned, through, NOW_MS).await.unwrap();
    }

    async fn claim(&self, now_ms: i64) -> Vec<i64> {
        let claim = ClaimRequest {
            now_ms,
            lease_until_ms: now_ms + 600_000,
            due_before_ms: now_ms,
            limit: 100,
            limit_per_company: 100,
            prefetched_by_company: BTreeMap::new(),
            limit_bytes: 1_000_000,
            after_company_id: 0,
        };
        let claimed = self.store.claim_deliveries(self.handler, claim).await.unwrap();
        claimed.iter().map(|claimed| claimed.event.summary.seq).collect()
    }

    async fn settle(&self, seq: i64, settlement: Settlement) {
        let settled = vec![SettledDelivery { seq, settlement, attempt: None }];
        self.store.settle_deliveries(self.handler, settled, NOW_MS).await.unwrap();
    }

    async fn claim_and_succeed(&self, seqs: &[i64]) {
        for seq in seqs {
            assert_eq!(self.claim(NOW_MS).await, [*seq]);
            self.settle(*seq, Settlement::Succeeded).await;
        }
    }

    fn apply(&mut self, seqs: &[i64], change: DeliveryChange) -> u64 {
        self.operator_store
            .change_deliveries(&DeliveryBatch { handler_id: self.handler, seqs: seqs.to_vec() }, change, NOW_MS)
            .unwrap()
    }

    /// State and, if it may be taken, when, by event.
    fn delivery_rows(&self) -> Vec<(i64, DeliveryState, Option<i64>)> {
        let sql = "SELECT event_seq, state, due_ms - 1790000000000 FROM deliveries ORDER BY event_seq";
        let read = self.operator_store.read(|conn, _| {
            let mut statement = conn.prepare(sql)?;
            let rows = statement
                .query_map([], |row| Ok((row.get(0)?, DeliveryState::from_number(row.get(1)?), row.get(2)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        });
        read.unwrap()
    }
}

fn new_event(ids: &EventIdGenerator, number: u8) -> NewEvent {
    NewEvent {
        kind: Some("call_ended".into()),
        call_id: Some("call_1".into()),
        revisable: true,
        ..NewEvent::new(ids.next_id(NOW_MS), DEFAULT_COMPANY_ID, NOW_MS, Bytes::from(vec![number]))
    }
}

use DeliveryState::{Pending, Running, Scheduled, Skipped, Succeeded};

#[tokio::test]
async fn what_is_replayed_goes_in_front_of_what_waits() {
    let supervisor = Supervisor::default();
    let mut scene = BulkOperationFixture::new(&supervisor).await;
    scene.plan(1..=4).await;
    scene.claim_and_succeed(&[1, 2]).await;
    assert_eq!(scene.apply(&[1, 2], DeliveryChange::Replay), 2);
    let rows = [(1, Pending, Some(0)), (2, Pending, None), (3, Pending, None), (4, Pending, None)];
    assert_eq!(scene.delivery_rows(), rows, "event 3 could have been taken until then");
    scene.claim_and_succeed(&[1, 2, 3, 4]).await;
    supervisor.stop();
}

#[tokio::test]
async fn what_runs_is_waited_for_and_left_alone() {
    let supervisor = Supervisor::default();
    let mut scene = BulkOperationFixture::new(&supervisor).await;
    scene.plan(1..=3).await;
    scene.claim_and_succeed(&[1]).await;
    assert_eq!(scene.claim(NOW_MS).await, [2]);
    for change in [DeliveryChange::Replay, DeliveryChange::Retry, DeliveryChange::Cancel, DeliveryChange::Discard] {
        assert_eq!(scene.apply(&[2], change), 0, "{change:?}");
    }
    assert_eq!(scene.apply(&[1], DeliveryChange::Replay), 1);
    assert!(scene.claim(NOW_MS).await.is_empty(), "one of a call at a time");
    scene.settle(2, Settlement::Succeeded).await;
    scene.claim_and_succeed(&[1, 3]).await;
    supervisor.stop();
}

#[tokio::test]
async fn cancelling_the_head_lets_the_next_one_go() {
    let supervisor = Supervisor::default();
    let mut scene = BulkOperationFixture::new(&supervisor).await;
    scene.plan(1..=3).await;
    assert_eq!(scene.claim(NOW_MS).await, [1]);
    let later = Settlement::Scheduled { next_attempt_at_ms: NOW_MS + 5_000, error: "down".into() };
    scene.settle(1, later).await;
    assert_eq!(scene.delivery_rows()[..2], [(1, Scheduled, Some(5_000)), (2, Pending, Some(ORDERING_TIMEOUT_MS))]);
    assert_eq!(scene.apply(&[1, 3], DeliveryChange::Cancel), 2);
    assert_eq!(scene.delivery_rows(), [(1, Skipped, None), (2, Pending, Some(0)), (3, Skipped, None)]);
    scene.claim_and_succeed(&[2]).await;
    supervisor.stop();
}

#[tokio::test]
async fn one_that_is_retried_is_due_now_and_the_next_one_waits_for_it() {
    let supervisor = Supervisor::default();
    let mut scene = BulkOperationFixture::new(&supervisor).await;
    scene.plan(1..=2).await;
    assert_eq!(scene.claim(NOW_MS).await, [1]);
    scene.settle(1, Settlement::Scheduled { next_attempt_at_ms: NOW_MS + 5_000, error: "down".into() }).await;
    assert_eq!(scene.apply(&[1], DeliveryChange::Retry), 1);
    assert_eq!(scene.delivery_rows(), [(1, Pending, Some(0)), (2, Pending, None)]);
    assert_eq!(scene.claim(NOW_MS).await, [1]);
    assert_eq!(scene.delivery_rows()[0].1, Running);
    supervisor.stop();
}

#[tokio::test]
async fn an_event_without_a_delivery_becomes_one_once_it_was_looked_at() {
    let supervisor = Supervisor::default();
    let mut scene = BulkOperationFixture::new(&supervisor).await;
    // Of the first four only two were wanted; the others are still to be looked at.
    scene.plan([2, 4]).await;
    scene.claim_and_succeed(&[2, 4]).await;
    assert_eq!(scene.apply(&[1, 3, 5], DeliveryChange::Retry), 0, "only a replay makes one");
    assert_eq!(scene.apply(&[1, 3, 5], DeliveryChange::Replay), 2);
    scene.plan([5, 6]).await;
    scene.claim_and_succeed(&[1, 3, 5, 6]).await;
    assert!(scene.delivery_rows().iter().all(|(_, state, _)| *state == Succeeded));
    supervisor.stop();
}

#[tokio::test]
async fn a_walk_meets_each_once_and_ends_where_the_journal_ended() {
    let supervisor = Supervisor::default();
    let mut scene = BulkOperationFixture::new(&supervisor).await;
    scene.plan(1..=6).await;
    scene.claim_and_succeed(&[1, 2, 3, 4, 5, 6]).await;
    let filter = DeliveryFilter { states: Some(vec![Succeeded]), ..DeliveryFilter::default() };
    let mut walk = scene.operator_store.select_deliveries(&filter).unwrap();
    let mut late = new_event(&EventIdGenerator::default(), 7);
    late.id = EventIdGenerator::default().next_id(NOW_MS + 1);
    scene.store.append(late).await.unwrap();
    scene.plan([7]).await;
    scene.claim_and_succeed(&[7]).await;
    let mut met = Vec::new();
    while let Some(chosen) = scene.operator_store.next_batch(&mut walk, 4).unwrap() {
        assert_eq!(scene.apply(&chosen.seqs, DeliveryChange::Replay), chosen.seqs.len() as u64);
        scene.claim_and_succeed(&chosen.seqs).await;
        met.push(chosen.seqs);
    }
    assert_eq!(met, [vec![1, 2, 3, 4], vec![5, 6]]);
    supervisor.stop();
}
