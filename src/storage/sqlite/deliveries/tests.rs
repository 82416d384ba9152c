use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use crate::base::id::EventIdGenerator;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{ClaimRequest, HandlerId, HandlerRow, NewEvent, PlannedDelivery};
use crate::storage::{DeliveryQueue, Journal, Maintenance};

fn open_store(folder: &Path) -> SqliteStore {
    SqliteStore::open(&SqliteUrl::file(folder.join("store.db")), &Supervisor::default()).unwrap()
}

async fn register_handler(store: &SqliteStore) -> HandlerId {
    let row = HandlerRow { name: "crm".into(), ordered: true, ordering_timeout_ms: 1_000 };
    store.register_handler(row).await.unwrap()
}

/// Appends an event and plans it; returns its sequence number.
async fn append_and_plan(store: &SqliteStore, handler: HandlerId, company_id: i64, call_id: &str, body: &str) -> i64 {
    let event = NewEvent {
        kind: Some("call_ended".into()),
        call_id: Some(call_id.to_owned()),
        ..NewEvent::new(
            EventIdGenerator::default().next_id(1_790_000_000_000),
            company_id,
            0,
            Bytes::copy_from_slice(body.as_bytes()),
        )
    };
    store.append(event).await.unwrap();
    let news = store.unplanned_events(handler, 10, false).await.unwrap();
    let seq = news.last().unwrap().0.seq;
    let planned =
        news.iter().map(|(event, _)| PlannedDelivery { seq: event.seq, skip_reason: None, supersedes: false });
    store.plan_deliveries(handler, planned.collect(), seq, 0).await.unwrap();
    seq
}

fn claim_up_to(limit: usize) -> ClaimRequest {
    ClaimRequest {
        now_ms: 0,
        lease_until_ms: 1_000_000,
        due_before_ms: 0,
        limit,
        limit_per_company: limit,
        prefetched_by_company: BTreeMap::new(),
        limit_bytes: u64::MAX,
        after_company_id: 0,
    }
}

async fn claim_company_and_seq(store: &SqliteStore, handler: HandlerId, claim: ClaimRequest) -> Vec<(i64, i64)> {
    let claimed = store.claim_deliveries(handler, claim).await.unwrap();
    claimed.iter().map(|claimed| (claimed.event.summary.company_id, claimed.event.summary.seq)).collect()
}

#[tokio::test]
async fn leases_are_released_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let id = register_handler(&store).await;
    let seq = append_and_plan(&store, id, 1, "call_1", "{}").await;
    assert_eq!(claim_company_and_seq(&store, id, claim_up_to(9)).await, [(1, seq)]);
    store.close().await.unwrap();
    let store = open_store(folder.path());
    assert_eq!(register_handler(&store).await, id);
    assert_eq!(claim_company_and_seq(&store, id, claim_up_to(9)).await, [(1, seq)]);
}

#[tokio::test]
async fn a_claim_uses_its_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    store.close().await.unwrap();
    let conn = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    let plan = |sql: &str| {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
    };
    let due = plan(&super::claim::DUE_SQL.replace("?1", "1").replace("?2", "1").replace("?3", "1").replace("?4", "1"));
    assert!(due.contains("deliveries_due (handler_id=? AND company_id=? AND due_ms<?)"), "{due}");
    assert!(
        due.contains("deliveries_call_sequence (handler_id=? AND ordering_key=?)") && !due.contains("TEMP B-TREE"),
        "{due}"
    );
}
