use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use super::claim::Candidates;
use crate::base::id::{CompanyId, EventIdGenerator};
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{
    BreakerState, ClaimRequest, DeliveryAdmin, DeliveryFilter, DeliveryQueue, DeliveryState, EventFilter, HandlerId,
    HandlerRow, Journal, Maintenance, NewEvent, PlannedDelivery, Seq, SettledDelivery, Settlement, StoreErrorKind,
};

const NOW_MS: i64 = 1_790_000_000_000;

fn open_store(folder: &Path) -> SqliteStore {
    SqliteStore::open(&SqliteUrl::file(folder.join("store.db")), &Supervisor::default()).unwrap()
}

async fn register_handler(store: &SqliteStore) -> HandlerId {
    let row = HandlerRow { name: "crm".into(), ordered: true, ordering_timeout_ms: 1_000 };
    store.register_handler(row).await.unwrap()
}

async fn append(store: &SqliteStore, company_id: CompanyId, call_id: &str, body: &str) {
    let event = NewEvent {
        kind: Some("call_ended".into()),
        call_id: Some(call_id.to_owned()),
        ..NewEvent::new(
            EventIdGenerator::default().next_id(NOW_MS),
            company_id,
            0,
            Bytes::copy_from_slice(body.as_bytes()),
        )
    };
    store.append(event).await.unwrap();
}

/// Appends an event and plans it; returns its sequence number.
async fn append_and_plan(
    store: &SqliteStore,
    handler: HandlerId,
    company_id: CompanyId,
    call_id: &str,
    body: &str,
) -> Seq {
    append(store, company_id, call_id, body).await;
    plan_all(store, handler).await
}

/// Plans all events; returns the last sequence number.
async fn plan_all(store: &SqliteStore, handler: HandlerId) -> Seq {
    let batch = store.next_plan_batch(handler, 10, false).await.unwrap().unwrap();
    let seq = batch.events.last().unwrap().0.seq;
    let planned = batch.events.iter().map(|(event, _)| PlannedDelivery::new(event.seq));
    store.plan_deliveries(handler, batch.token, planned.collect(), NOW_MS).await.unwrap();
    seq
}

fn claim_up_to(limit: usize) -> ClaimRequest {
    ClaimRequest {
        now_ms: NOW_MS,
        lease_until_ms: NOW_MS + 30_000,
        due_before_ms: NOW_MS,
        limit,
        prefer_untried: false,
        limit_per_company: limit,
        prefetched_by_company: BTreeMap::new(),
        limit_bytes: u64::MAX,
        after_company_id: CompanyId::new(0),
    }
}

async fn claim_company_and_seq(store: &SqliteStore, handler: HandlerId, claim: ClaimRequest) -> Vec<(i64, Seq)> {
    let claimed = store.claim_deliveries(handler, claim).await.unwrap();
    claimed.iter().map(|claimed| (claimed.event.summary.company_id.get(), claimed.event.summary.seq)).collect()
}

#[tokio::test]
async fn leases_are_released_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let id = register_handler(&store).await;
    let seq = append_and_plan(&store, id, CompanyId::new(1), "call_1", "{}").await;
    let abandoned = store.claim_deliveries(id, claim_up_to(9)).await.unwrap();
    assert_eq!(abandoned.len(), 1);
    store.close().await.unwrap();
    let store = open_store(folder.path());
    assert_eq!(register_handler(&store).await, id);
    assert_eq!(store.next_due_ms(id).await.unwrap(), Some(NOW_MS), "as before the claim, also for a disabled handler");
    let released = &store.list_deliveries(DeliveryFilter::default(), 9, None).await.unwrap().rows[0];
    assert_eq!((released.state, released.queued_at_ms), (DeliveryState::Pending, NOW_MS));
    assert_eq!(claim_company_and_seq(&store, id, claim_up_to(9)).await, [(1, seq)]);
    let lost = store.renew_leases(id, vec![abandoned[0].lease], i64::MAX).await.unwrap();
    assert_eq!(lost, [abandoned[0].lease], "no claim of this process has the number of an earlier one");
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
    for (candidates, index) in [(Candidates::Due, "deliveries_due"), (Candidates::Untried, "deliveries_untried")] {
        let bound =
            |sql: &str| ["?1", "?2", "?3", "?4"].iter().fold(sql.to_owned(), |sql, name| sql.replace(name, "1"));
        let due = plan(&bound(candidates.due_sql()));
        assert!(due.contains(&format!("{index} (handler_id=? AND company_id=? AND due_ms<?)")), "{due}");
        assert!(
            due.contains("deliveries_call_sequence (handler_id=? AND ordering_key=?)") && !due.contains("TEMP B-TREE"),
            "{due}"
        );
        let next_company = plan(&bound(candidates.next_company_sql()));
        assert!(next_company.contains(&format!("{index} (handler_id=? AND company_id>?)")), "{next_company}");
        assert!(!next_company.contains("TEMP B-TREE"), "{next_company}");
    }
}

/// Puts a state into a row that no version writes.
fn damage_state(folder: &Path, seq: Seq, state: i64) {
    let conn = rusqlite::Connection::open(folder.join("store.db")).unwrap();
    conn.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    assert_eq!(
        conn.execute("UPDATE deliveries SET state = ?2 WHERE event_seq = ?1", rusqlite::params![seq, state]).unwrap(),
        1
    );
}

#[tokio::test]
async fn a_row_with_an_unknown_state_is_an_error_and_stops_no_other_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let handler = register_handler(&store).await;
    let later_state = append_and_plan(&store, handler, CompanyId::new(1), "call_1", "a").await;
    let negative_state = append_and_plan(&store, handler, CompanyId::new(1), "call_2", "b").await;
    let same_call = append_and_plan(&store, handler, CompanyId::new(1), "call_2", "c").await;
    let neighbour = append_and_plan(&store, handler, CompanyId::new(1), "call_3", "d").await;
    damage_state(folder.path(), later_state, 7);
    damage_state(folder.path(), negative_state, -1);

    let list = store.list_deliveries(DeliveryFilter::default(), 10, None).await.unwrap_err();
    assert_eq!((list.kind(), list.is_retryable()), (StoreErrorKind::CorruptRow, false));
    assert_eq!(
        list.to_string(),
        format!(
            "cannot read the store: unknown state `-1` in the row of table deliveries with handler crm and event seq \
             {negative_state}; restore the store from a backup, or run the version that wrote the row"
        )
    );
    let overview = store.overview(0).await.unwrap_err().to_string();
    assert!(
        overview.contains(&format!(
            "unknown state `-1` in the row of table deliveries with handler crm and event seq {negative_state}"
        )),
        "{overview}"
    );
    let backlog = store.list_backlogs(100, 0).await.unwrap().remove(0);
    let damage = backlog.damage.map(|damage| damage.to_string());
    assert_eq!((backlog.handler.as_str(), backlog.pending, backlog.dead), ("crm", 2, 0));
    assert!(damage.is_some_and(|damage| overview.contains(&damage)), "alarms and metrics have the other figures");
    assert_eq!(store.stats().await.unwrap().backlogs[0].pending, 2);
    let mut selection = store.select_deliveries(DeliveryFilter::default()).await.unwrap();
    let count = selection.count_next().await.unwrap_err().to_string();
    assert!(count.contains("unknown state `-1`"), "{count}");

    let claimed = store.claim_deliveries(handler, claim_up_to(9)).await.unwrap();
    let [claimed] = &claimed[..] else { panic!("{claimed:?}") };
    assert_eq!(claimed.event.summary.seq, neighbour);
    let lease = claimed.lease;
    let settled = SettledDelivery::without_attempt(neighbour, lease, Settlement::Succeeded);
    assert_eq!(store.settle_deliveries(handler, vec![settled], NOW_MS).await.unwrap(), 0);
    assert_eq!(store.next_due_ms(handler).await.unwrap(), None, "the damaged rows wake no worker");
    let next_of_call = append_and_plan(&store, handler, CompanyId::new(1), "call_2", "e").await;
    assert_eq!(
        claim_company_and_seq(&store, handler, claim_up_to(9)).await,
        [(1, same_call)],
        "the next event of the call continues its sequence before {next_of_call}"
    );
}

#[tokio::test]
async fn an_event_with_an_unknown_value_stops_neither_planning_nor_claiming() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let handler = register_handler(&store).await;
    for (call_id, body) in [("call_1", "a"), ("call_2", "b"), ("call_3", "c")] {
        append(&store, CompanyId::new(1), call_id, body).await;
    }
    let conn = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    conn.execute_batch(
        "PRAGMA ignore_check_constraints = ON; UPDATE events SET state = 7 WHERE seq = 1;
         UPDATE events SET origin = 8 WHERE seq = 2",
    )
    .unwrap();
    let list = store.list_events(EventFilter::default()).await.unwrap_err();
    assert_eq!(list.kind(), StoreErrorKind::CorruptRow);

    for bodies in [false, true] {
        let batch = store.next_plan_batch(handler, 9, bodies).await.unwrap().unwrap();
        assert_eq!(batch.events.iter().map(|(event, _)| event.seq.0).collect::<Vec<_>>(), [1, 2, 3]);
    }
    plan_all(&store, handler).await;
    let claimed = store.claim_deliveries(handler, claim_up_to(9)).await.unwrap();
    let bodies: Vec<_> =
        claimed.iter().map(|claimed| claimed.event.body.clone().map_err(|error| error.reason)).collect();
    let advice = "restore the store from a backup, or run the version that wrote the row";
    assert_eq!(
        bodies,
        [
            Err(format!("unknown state `7` in the row of table events with seq 1; {advice}")),
            Err(format!("unknown origin `8` in the row of table events with seq 2; {advice}")),
            Ok("c".into()),
        ]
    );
}

#[tokio::test]
async fn an_unknown_breaker_state_is_an_error_that_names_the_handler() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    register_handler(&store).await;
    let conn = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    conn.execute("UPDATE handlers SET breaker = 'ajar'", []).unwrap();
    let error = store.overview(0).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::CorruptRow);
    assert!(error.to_string().contains("unknown breaker `ajar` in the row of table handlers with name crm"), "{error}");
    let backlog = store.list_backlogs(100, 0).await.unwrap().remove(0);
    assert_eq!(backlog.breaker_state, BreakerState::Closed);
    assert!(backlog.damage.is_some_and(|damage| error.to_string().contains(&damage.to_string())));
}
