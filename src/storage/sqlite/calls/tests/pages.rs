//! No query of calls reads more pages of a large store than of a small one.

use std::path::Path;

use rusqlite::Connection;

use crate::base::id::CompanyId;
use crate::calls::{CallFilter, CallKind, CallRecord, CallStage, CallStatsFilter};
use crate::storage::sqlite::calls::{PendingTotals, compute_stats, find_by_id, list_calls, merge_call};
use crate::storage::sqlite::page_reads::{NamedQuery, PageQuery, assert_pages_bounded};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::sqlite::{SqliteUrl, inbound, open};

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_795_219_200_000;
const CALLS_PER_HOUR: i64 = 20;

/// A closed store with this number of calls. Of every 50 calls, one is of the company `acme` and one a test.
fn store_with_calls(folder: &Path, calls: i64) -> SqliteUrl {
    let url = SqliteUrl::file(folder.join(format!("{calls}.db")));
    let conn = Connection::open(url.path()).unwrap();
    for step in open::MIGRATIONS.steps {
        conn.execute_batch(step).unwrap();
    }
    conn.execute("INSERT INTO companies (slug, origin) VALUES ('acme', 'config')", []).unwrap();
    let key = open::load_identity_key(&conn).unwrap();
    let transaction = conn.unchecked_transaction().unwrap();
    let mut totals = PendingTotals::default();
    for number in 0..calls {
        merge_call(&transaction, &key, &mut totals, &call(number)).unwrap();
    }
    totals.write(&transaction).unwrap();
    transaction.commit().unwrap();
    url
}

fn call(number: i64) -> CallRecord {
    let company = CompanyId::new(if number % 50 == 0 { 2 } else { 1 });
    let id = if number % 50 == 1 { format!("call_test_{number}") } else { format!("call_{number}") };
    let at_ms = START_MS + number * HOUR_MS / CALLS_PER_HOUR;
    CallRecord {
        agent_id: Some(format!("agent_{}", number % 7)),
        agent_name: Some("Nora".into()),
        agent_version: Some(number % 3),
        direction: Some("inbound".into()),
        from_number: Some(format!("+1202555{:04}", number % 1_000)),
        call_status: Some("ended".into()),
        disconnection_reason: Some("user_hangup".into()),
        user_sentiment: Some("Positive".into()),
        call_successful: Some(true),
        duration_ms: Some(60_000),
        cost_cents: Some("12.5".into()),
        summary: Some("moved the appointment to Friday ".repeat(5)),
        ..CallRecord::new(CallKind::Call, company, "default", &id, CallStage::Analyzed, at_ms)
    }
}

fn list(reader: &ReaderContext, filter: &CallFilter) {
    let found = list_calls(&reader.conn, filter).unwrap();
    assert_eq!(found.len(), filter.limit, "{filter:?}");
}

fn stats(reader: &ReaderContext, filter: &CallStatsFilter) {
    assert!(compute_stats(&reader.conn, filter).unwrap().totals().calls > 0, "{filter:?}");
}

#[test]
fn queries_of_calls_do_not_scan() {
    let folder = tempfile::tempdir().unwrap();
    let [small, large] = [2_000, 20_000].map(|calls| store_with_calls(folder.path(), calls));
    let all = CallFilter {
        kind: CallKind::Call,
        company: None,
        agent_id: None,
        include_tests: false,
        since_ms: None,
        until_ms: None,
        limit: 5,
    };
    let acme = CallFilter { company: Some("acme".into()), ..all.clone() };
    let agent = CallFilter { agent_id: Some("agent_3".into()), ..all.clone() };
    // Within the first 2,000 calls, so that both stores have the same rows there.
    let (since_ms, until_ms) = (START_MS + 20 * HOUR_MS + 1, START_MS + 70 * HOUR_MS + 1);
    let early = CallFilter { since_ms: Some(since_ms), until_ms: Some(until_ms), ..all.clone() };
    let acme_agent = CallFilter { agent_id: Some("agent_3".into()), ..acme.clone() };
    let early_agent = CallFilter { company: Some("acme".into()), limit: 2, ..early.clone() };
    let of_range = CallStatsFilter { since_ms: Some(since_ms), until_ms: Some(until_ms), ..CallStatsFilter::default() };
    let of_agent = CallStatsFilter { agent_id: Some("agent_3".into()), ..of_range.clone() };
    let queries: [(&str, PageQuery); 13] = [
        ("list all", &|reader| list(reader, &all)),
        ("list with tests", &|reader| list(reader, &CallFilter { include_tests: true, ..all.clone() })),
        ("list of a company", &|reader| list(reader, &acme)),
        ("list of an agent", &|reader| list(reader, &agent)),
        ("list of a company and an agent", &|reader| list(reader, &acme_agent)),
        ("list of a time", &|reader| list(reader, &early)),
        ("list of a company and a time", &|reader| list(reader, &early_agent)),
        ("statistics of a time", &|reader| stats(reader, &of_range)),
        ("statistics of a company", &|reader| {
            stats(reader, &CallStatsFilter { company: Some("acme".into()), ..of_range.clone() });
        }),
        ("statistics of an agent", &|reader| stats(reader, &of_agent)),
        ("statistics of a part of an hour", &|reader| {
            stats(reader, &CallStatsFilter { until_ms: Some(since_ms + HOUR_MS / 2), ..of_range.clone() });
        }),
        ("call by id", &|reader| {
            assert!(find_by_id(&reader.conn, &reader.identity_key, CallKind::Call, "call_777").unwrap().is_some());
        }),
        ("history of a caller", &|reader| {
            let history = inbound::caller_history(&reader.conn, CompanyId::new(1), "+12025550123").unwrap();
            assert!(history.call_count >= 2, "{}", history.call_count);
        }),
    ];
    assert_pages_bounded(&small, &large, &queries.map(|(name, run)| NamedQuery { name, run }));
}
