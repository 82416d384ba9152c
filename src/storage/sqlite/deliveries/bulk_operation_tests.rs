//! Bulk operations by an operator while a receiver uses the store, and the order within a call.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::operator::OperatorStore;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{
    ClaimRequest, DEFAULT_COMPANY_ID, DeliveryBatch, DeliveryChange, DeliveryFilter, DeliveryState, HandlerId,
    HandlerRow, NewEvent, PlannedDelivery, SettledDelivery, Settlement,
};
use crate::storage::{DeliveryQueue, Journal};

const NOW_MS: i64 = 1_790_000_000_000;
const ORDERING_TIMEOUT_MS: i64 = 60_000;

/// The store of a receiver with one handler and six events of one call, and an operator store on the same file.
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
        let row = HandlerRow { name: "crm".into(), ordered: true, ordering_timeout_ms: ORDERING_TIMEOUT_MS };
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

    /// Sequence number, state and due time (relative to `NOW_MS`) of each delivery.
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
async fn replayed_deliveries_precede_pending_ones_of_their_call() {
    let supervisor = Supervisor::default();
    let mut fixture = BulkOperationFixture::new(&supervisor).await;
    fixture.plan(1..=4).await;
    fixture.claim_and_succeed(&[1, 2]).await;
    assert_eq!(fixture.apply(&[1, 2], DeliveryChange::Replay), 2);
    let rows = [(1, Pending, Some(0)), (2, Pending, None), (3, Pending, None), (4, Pending, None)];
    assert_eq!(fixture.delivery_rows(), rows, "event 3 is no longer due");
    fixture.claim_and_succeed(&[1, 2, 3, 4]).await;
    supervisor.stop();
}

#[tokio::test]
async fn running_deliveries_are_not_changed() {
    let supervisor = Supervisor::default();
    let mut fixture = BulkOperationFixture::new(&supervisor).await;
    fixture.plan(1..=3).await;
    fixture.claim_and_succeed(&[1]).await;
    assert_eq!(fixture.claim(NOW_MS).await, [2]);
    for change in [DeliveryChange::Replay, DeliveryChange::Retry, DeliveryChange::Cancel, DeliveryChange::Discard] {
        assert_eq!(fixture.apply(&[2], change), 0, "{change:?}");
    }
    assert_eq!(fixture.apply(&[1], DeliveryChange::Replay), 1);
    assert!(fixture.claim(NOW_MS).await.is_empty(), "one running delivery per call");
    fixture.settle(2, Settlement::Succeeded).await;
    fixture.claim_and_succeed(&[1, 3]).await;
    supervisor.stop();
}

#[tokio::test]
async fn canceling_the_head_makes_the_next_delivery_due() {
    let supervisor = Supervisor::default();
    let mut fixture = BulkOperationFixture::new(&supervisor).await;
    fixture.plan(1..=3).await;
    assert_eq!(fixture.claim(NOW_MS).await, [1]);
    let later = Settlement::Scheduled { next_attempt_at_ms: NOW_MS + 5_000, error: "down".into() };
    fixture.settle(1, later).await;
    assert_eq!(fixture.delivery_rows()[..2], [(1, Scheduled, Some(5_000)), (2, Pending, Some(ORDERING_TIMEOUT_MS))]);
    assert_eq!(fixture.apply(&[1, 3], DeliveryChange::Cancel), 2);
    assert_eq!(fixture.delivery_rows(), [(1, Skipped, None), (2, Pending, Some(0)), (3, Skipped, None)]);
    fixture.claim_and_succeed(&[2]).await;
    supervisor.stop();
}

#[tokio::test]
async fn a_retried_delivery_is_due_now_and_later_ones_wait() {
    let supervisor = Supervisor::default();
    let mut fixture = BulkOperationFixture::new(&supervisor).await;
    fixture.plan(1..=2).await;
    assert_eq!(fixture.claim(NOW_MS).await, [1]);
    fixture.settle(1, Settlement::Scheduled { next_attempt_at_ms: NOW_MS + 5_000, error: "down".into() }).await;
    assert_eq!(fixture.apply(&[1], DeliveryChange::Retry), 1);
    assert_eq!(fixture.delivery_rows(), [(1, Pending, Some(0)), (2, Pending, None)]);
    assert_eq!(fixture.claim(NOW_MS).await, [1]);
    assert_eq!(fixture.delivery_rows()[0].1, Running);
    supervisor.stop();
}

#[tokio::test]
async fn a_replay_inserts_a_delivery_for_a_planned_event() {
    let supervisor = Supervisor::default();
    let mut fixture = BulkOperationFixture::new(&supervisor).await;
    // Events 1 and 3 are filtered; events 5 and 6 are not planned yet.
    fixture.plan([2, 4]).await;
    fixture.claim_and_succeed(&[2, 4]).await;
    assert_eq!(fixture.apply(&[1, 3, 5], DeliveryChange::Retry), 0, "only a replay inserts a delivery");
    assert_eq!(fixture.apply(&[1, 3, 5], DeliveryChange::Replay), 2);
    fixture.plan([5, 6]).await;
    fixture.claim_and_succeed(&[1, 3, 5, 6]).await;
    assert!(fixture.delivery_rows().iter().all(|(_, state, _)| *state == Succeeded));
    supervisor.stop();
}

#[tokio::test]
async fn a_cursor_selects_each_delivery_once_up_to_the_end_of_the_journal() {
    let supervisor = Supervisor::default();
    let mut fixture = BulkOperationFixture::new(&supervisor).await;
    fixture.plan(1..=6).await;
    fixture.claim_and_succeed(&[1, 2, 3, 4, 5, 6]).await;
    let filter = DeliveryFilter { states: Some(vec![Succeeded]), ..DeliveryFilter::default() };
    let mut cursor = fixture.operator_store.select_deliveries(&filter).unwrap();
    let mut late = new_event(&EventIdGenerator::default(), 7);
    late.id = EventIdGenerator::default().next_id(NOW_MS + 1);
    fixture.store.append(late).await.unwrap();
    fixture.plan([7]).await;
    fixture.claim_and_succeed(&[7]).await;
    let mut batches = Vec::new();
    while let Some(batch) = fixture.operator_store.next_batch(&mut cursor, 4).unwrap() {
        assert_eq!(fixture.apply(&batch.seqs, DeliveryChange::Replay), batch.seqs.len() as u64);
        fixture.claim_and_succeed(&batch.seqs).await;
        batches.push(batch.seqs);
    }
    assert_eq!(batches, [vec![1, 2, 3, 4], vec![5, 6]]);
    supervisor.stop();
}
