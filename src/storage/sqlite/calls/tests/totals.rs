//! Statistics from totals are those of the rows, whatever happened to the rows.

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::base::id::CompanyId;
use crate::base::supervise::Supervisor;
use crate::calls::{CallGrouping, CallKind, CallRecord, CallStage, CallStats, CallStatsFilter, TransferKind};
use crate::storage::sqlite::calls::check::check_period;
use crate::storage::sqlite::calls::stats::for_each_counted;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{CallStore, TotalsPosition};

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_795_219_200_000;

/// A change of the rows of calls.
#[derive(Clone, Debug)]
enum Change {
    Merge(Box<CallRecord>),
    Delete(CompanyId, String),
    /// Deletes what is older, as retention does.
    Purge(CallKind, CompanyId, i64),
}

/// Times around the ends of hours, days and months.
fn any_time() -> impl Strategy<Value = i64> {
    let day = prop_oneof![-1..2_i64, 28..32_i64, Just(400)];
    (day, 0..4_i64, -1..2_i64).prop_map(|(day, hour, ms)| START_MS + day * 24 * HOUR_MS + hour * HOUR_MS + ms)
}

fn any_call_id() -> impl Strategy<Value = String> {
    prop_oneof!["call_[1-5]", "call_test_[12]", "chat_test_1"]
}

fn any_company() -> impl Strategy<Value = CompanyId> {
    (1..3_i64).prop_map(CompanyId::new)
}

fn any_update() -> impl Strategy<Value = CallRecord> {
    let of_call = (any_call_id(), any_company(), any::<bool>(), 1..5_i64, any_time());
    let option = proptest::option::of::<BoxedStrategy<String>>;
    let texts = (option("[ab]".boxed()), option("[xy]".boxed()), option("[pq]?".boxed()));
    let cost = option(
        prop_oneof![Just("0.1"), Just("12.3456789"), Just("-3"), Just("999999999999"), Just("?")]
            .prop_map(str::to_owned)
            .boxed(),
    );
    let duration = proptest::option::of(prop_oneof![Just(-5), Just(60_000), Just(i64::MAX), 0..9_i64]);
    let rest = (proptest::option::of(0..3_i64), proptest::option::of(any::<bool>()), proptest::option::of(any_time()));
    (of_call, texts, cost, duration, rest).prop_map(|(of_call, texts, cost, duration, rest)| {
        let (id, company, is_chat, rank, at_ms) = of_call;
        let kind = if is_chat { CallKind::Chat } else { CallKind::Call };
        let stage = CallStage::from_rank(rank).unwrap();
        let mut call = CallRecord::new(kind, company, "", &id, stage, at_ms);
        (call.agent_id, call.disconnection_reason, call.user_sentiment) = texts;
        (call.cost_cents, call.duration_ms) = (cost, duration);
        (call.agent_version, call.call_successful, call.started_at_ms) = rest;
        call.transfers.insert(format!("evt_{at_ms}"), TransferKind::Started);
        call
    })
}

fn any_change() -> impl Strategy<Value = Change> {
    let kind = prop_oneof![Just(CallKind::Call), Just(CallKind::Chat)];
    prop_oneof![
        8 => any_update().prop_map(|update| Change::Merge(Box::new(update))),
        2 => (any_company(), any_call_id()).prop_map(|(company, id)| Change::Delete(company, id)),
        1 => (kind, any_company(), any_time()).prop_map(|(kind, company, at_ms)| Change::Purge(kind, company, at_ms)),
    ]
}

fn any_filter() -> impl Strategy<Value = CallStatsFilter> {
    let kind = prop_oneof![Just(CallKind::Call), Just(CallKind::Chat)];
    let times = (proptest::option::of(any_time()), proptest::option::of(any_time()));
    let company = proptest::option::of(prop_oneof![Just("default"), Just("acme"), Just("unknown")]);
    (kind, times, company, proptest::option::of("[ab]")).prop_map(|(kind, times, company, agent_id)| CallStatsFilter {
        kind,
        since_ms: times.0,
        until_ms: times.1,
        company: company.map(str::to_owned),
        agent_id,
    })
}

fn apply(conn: &Connection, key: &IdentityKey, change: &Change) {
    let mut totals = PendingTotals::default();
    match change {
        Change::Merge(update) => merge_call(conn, key, &mut totals, update).unwrap(),
        Change::Delete(company, id) => drop(delete_call(conn, key, &mut totals, *company, id).unwrap()),
        Change::Purge(kind, company, before_ms) => {
            for partition in list_partitions(conn, *kind).unwrap() {
                if partition.company_id == *company {
                    for (_, id) in list_old_rows(conn, *kind, partition, *before_ms, (i64::MIN, 0), 99).unwrap() {
                        delete_row(conn, &mut totals, *kind, id).unwrap();
                    }
                }
            }
        }
    }
    totals.write(conn).unwrap();
}

/// The statistics, counted from all rows.
fn recount(conn: &Connection, filter: &CallStatsFilter) -> CallStats {
    let mut stats = CallStats::default();
    let (since_ms, until_ms) = (filter.since_ms.unwrap_or(i64::MIN), filter.until_ms.unwrap_or(i64::MAX));
    for_each_counted(conn, filter.kind, since_ms, until_ms, &mut |call| {
        let company = if call.company_id == CompanyId::new(1) { "default" } else { "acme" };
        let has_company = filter.company.as_deref().is_none_or(|wanted| wanted == company);
        if has_company && (filter.agent_id.is_none() || filter.agent_id.as_deref() == call.agent_id) {
            stats.add_call(call, company);
        }
    })
    .unwrap();
    stats
}

fn assert_same(found: &CallStats, expected: &CallStats) {
    assert_eq!(found.totals(), expected.totals());
    assert_eq!(found.excluded_tests(), expected.excluded_tests());
    for grouping in CallGrouping::for_kind(CallKind::Call) {
        let groups = |stats: &CallStats| -> Vec<_> {
            stats.groups(grouping).into_iter().map(|group| (group.key, group.totals)).collect()
        };
        assert_eq!(groups(found), groups(expected), "{grouping:?}");
    }
}

proptest! {
    #[test]
    fn totals_equal_a_count_of_the_rows_after_every_change(
        changes in proptest::collection::vec((any_change(), any_filter()), 1..20),
    ) {
        let (conn, key) = empty_store();
        conn.execute("INSERT INTO companies (slug, origin) VALUES ('acme', 'config')", []).unwrap();
        for (change, filter) in changes {
            apply(&conn, &key, &change);
            assert_eq!(count_differing_totals(&conn, &mut |_| {}).unwrap(), 0);
            assert_same(&compute_stats(&conn, &filter).unwrap(), &recount(&conn, &filter));
            let empty_rows = "SELECT count(*) FROM call_totals WHERE calls <= 0";
            assert_eq!(conn.query_row(empty_rows, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
        }
    }
}

/// Corrects all totals, and merges a call between each check and its correction.
fn correct_while_calls_arrive(conn: &Connection, key: &IdentityKey) -> usize {
    let mut corrected = 0;
    let mut next = Some(TotalsPosition::START);
    let mut arrived = 0;
    while let Some(position) = next {
        let check = check_period(conn, position).unwrap();
        arrived += 1;
        let id = format!("call_arrived_{arrived}");
        let at_ms = START_MS + i64::from(arrived % 3) * 24 * HOUR_MS;
        let call = CallRecord::new(CallKind::Call, CompanyId::new(1), "", &id, CallStage::Ended, at_ms);
        apply(conn, key, &Change::Merge(Box::new(call)));
        corrected += check.correct(conn).unwrap().unwrap();
        next = check.next;
    }
    corrected
}

#[test]
fn damaged_totals_are_found_and_corrected_while_calls_arrive() {
    let (conn, key) = empty_store();
    for number in 0..60 {
        let at_ms = START_MS + number * 20 * HOUR_MS;
        let id = format!("call_{number}");
        let call = CallRecord {
            agent_id: Some(format!("agent_{}", number % 4)),
            agent_version: Some(number % 2),
            cost_cents: Some("0.7".into()),
            ..CallRecord::new(CallKind::Call, CompanyId::new(1), "", &id, CallStage::Ended, at_ms)
        };
        apply(&conn, &key, &Change::Merge(Box::new(call)));
    }
    assert_eq!(count_differing_totals(&conn, &mut |_| {}).unwrap(), 0);
    conn.execute_batch(
        "DELETE FROM call_totals WHERE start % 3 = 0;
         UPDATE call_totals SET calls = calls + 1, cents = cents + 5 WHERE start % 3 = 1;
         INSERT INTO call_totals SELECT 24, 0, 7, 1, 'yes', 1, 0, 0, 0, 0, 0, 0;
         INSERT INTO call_totals SELECT 720, 0, 7, 1, 'yes', 1, 0, 0, 0, 0, 0, 0;",
    )
    .unwrap();
    assert!(count_differing_totals(&conn, &mut |_| {}).unwrap() > 50);
    assert!(correct_while_calls_arrive(&conn, &key) > 50);
    assert_eq!(count_differing_totals(&conn, &mut |_| {}).unwrap(), 0);
    assert_eq!(correct_while_calls_arrive(&conn, &key), 0);
}

#[test]
fn a_difference_is_not_corrected_twice() {
    let (conn, key) = empty_store();
    let call = CallRecord::new(CallKind::Call, CompanyId::new(1), "", "call_1", CallStage::Ended, START_MS);
    apply(&conn, &key, &Change::Merge(Box::new(call)));
    conn.execute("DELETE FROM call_totals WHERE span = 1", []).unwrap();
    let [first, second] = [(); 2].map(|()| check_period(&conn, TotalsPosition::START).unwrap());
    assert_eq!(first.differing_totals(), 3, "all calls, those of the company and those without an agent");
    assert_eq!((first.correct(&conn).unwrap(), second.correct(&conn).unwrap()), (Some(3), None));
    assert_eq!(count_differing_totals(&conn, &mut |_| {}).unwrap(), 0);
}

#[tokio::test]
async fn totals_of_a_failed_merge_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let url = SqliteUrl::file(folder.path().join("store.db"));
    let store = SqliteStore::open(&url, &Supervisor::default()).unwrap();
    let other = Connection::open(url.path()).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER refuse AFTER INSERT ON calls WHEN new.call_id = 'call_7'
               BEGIN SELECT RAISE(ABORT, 'no'); END;
             CREATE TRIGGER undo AFTER INSERT ON calls WHEN new.call_id = 'call_11'
               BEGIN SELECT RAISE(ROLLBACK, 'no'); END;",
        )
        .unwrap();
    let call = |number: i64| {
        let id = format!("call_{number}");
        CallRecord::new(CallKind::Call, CompanyId::new(1), "", &id, CallStage::Ended, START_MS)
    };
    let merges = (0..20).map(|number| store.merge_call(call(number)));
    let results = futures_util::future::join_all(merges).await;
    let failed: Vec<_> = (0..20).filter(|number| results[*number].is_err()).collect();
    assert_eq!(failed, [7, 11]);
    let stats = store.call_stats(CallStatsFilter::default()).await.unwrap();
    assert_eq!(stats.totals().calls, 18);
    assert_eq!(count_differing_totals(&other, &mut |_| {}).unwrap(), 0);
}
