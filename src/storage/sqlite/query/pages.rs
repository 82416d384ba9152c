//! No list of events or deliveries reads more pages of a large store than of a small one.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::base::id::EventIdGenerator;
use crate::storage::sqlite::deliveries::{DeliveryQuery, list_outlooks, list_page};
use crate::storage::sqlite::page_reads::{NamedQuery, assert_pages_bounded};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::sqlite::{SqliteUrl, events, open, overview};
use crate::storage::{DeliveryFilter, DeliveryState, EventFilter};

type BoxedQuery = Box<dyn Fn(&ReaderContext)>;

const START_MS: i64 = 1_790_000_000_000;
const LIMIT: usize = 5;
/// Both stores have the same events up to this one.
const EARLY_SEQ: i64 = 1_500;

/// A closed store with this number of events, one per 10 s, and two deliveries of each. The company `rare` has one event,
/// and one event is of the kind `alert_triggered`. One of 40 deliveries is dead.
fn store_with_events(folder: &Path, events: i64) -> SqliteUrl {
    let url = SqliteUrl::file(folder.join(format!("{events}.db")));
    let conn = Connection::open(url.path()).unwrap();
    for step in open::MIGRATIONS.steps {
        conn.execute_batch(step).unwrap();
    }
    conn.execute_batch(
        "INSERT INTO companies (slug, origin) VALUES ('acme', 'config'), ('rare', 'config');
         INSERT INTO handlers (id, name, since, through) VALUES (1, 'crm', 0, 1000000), (2, 'log', 0, 1000000)",
    )
    .unwrap();
    let key = open::load_identity_key(&conn).unwrap();
    let ids = EventIdGenerator::default();
    let transaction = conn.unchecked_transaction().unwrap();
    for seq in 1..=events {
        let company = if seq == 700 { 3 } else { 1 + seq % 2 };
        let kind =
            if seq == 800 { "alert_triggered" } else { ["call_started", "call_ended"][usize::from(seq % 3 == 0)] };
        let call_id = format!("call_{}", seq / 4);
        let received_at_ms = START_MS + seq * 10_000;
        let id = ids.next_id(received_at_ms);
        transaction
            .prepare_cached(
                "INSERT INTO events (seq, id, identity, company_id, event, call_id, received_at_ms, origin, state,
                   size_bytes)
                 VALUES (?1, ?2, x'', ?3, ?4, ?5, ?6, 0, ?7, 0)",
            )
            .unwrap()
            .execute(params![seq, id.as_bytes(), company, kind, call_id, received_at_ms, seq == 900])
            .unwrap();
        let mut add_key = transaction.prepare_cached("INSERT INTO event_keys (key, seq) VALUES (?1, ?2)").unwrap();
        let call_key = key.call_key(crate::base::id::CompanyId::new(company), &call_id, kind);
        add_key.execute(params![call_key, seq]).unwrap();
        for handler in [1, 2] {
            let is_dead = seq % 40 == 0;
            let state = if is_dead { DeliveryState::Dead } else { DeliveryState::Succeeded };
            transaction
                .prepare_cached(
                    "INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, attempts, since_ms,
                       updated_ms, note, replay)
                     VALUES (?1, ?2, ?3, ?4, ?2, 1, ?5, ?5, ?6, 0)",
                )
                .unwrap()
                .execute(params![handler, seq, state as i64, company, received_at_ms, is_dead.then_some("refused")])
                .unwrap();
        }
    }
    transaction.execute("UPDATE progress SET value = ?1 WHERE name = 'indexed_through'", [events]).unwrap();
    transaction.commit().unwrap();
    url
}

fn list_events(reader: &ReaderContext, filter: &EventFilter, wanted: usize) {
    let mut query = events::query(reader, filter).unwrap();
    let mut found = Vec::new();
    while events::list_next(reader, &mut query, LIMIT, &mut found).unwrap() {}
    assert_eq!(found.len(), wanted, "{filter:?}");
}

fn list_deliveries(reader: &ReaderContext, filter: &DeliveryFilter, wanted: usize) {
    let query = DeliveryQuery::resolve(&reader.conn, &reader.identity_key, filter).unwrap();
    assert_eq!(list_page(&reader.conn, &query, LIMIT).unwrap().0.len(), wanted, "{filter:?}");
}

#[test]
fn lists_of_events_do_not_scan() {
    let folder = tempfile::tempdir().unwrap();
    let [small, large] = [2_000, 20_000].map(|events| store_with_events(folder.path(), events));
    let all = EventFilter::default;
    let kind = |kind: &str| EventFilter { kinds: vec![kind.to_owned()], ..all() };
    let company = |slug: &str| EventFilter { company: Some(slug.to_owned()), ..all() };
    let (since_ms, until_ms) = (Some(START_MS + EARLY_SEQ * 9_000), Some(START_MS + EARLY_SEQ * 10_000));
    let cases = [
        ("all", all(), LIMIT),
        ("a kind", kind("call_ended"), LIMIT),
        ("a kind that occurs once", kind("alert_triggered"), 1),
        ("a kind that never occurs", kind("alert_resolved"), 0),
        ("a company", company("acme"), LIMIT),
        ("a company with one event", company("rare"), 1),
        ("a kind of a company that never occurs", EventFilter { company: Some("acme".into()), ..kind("x") }, 0),
        ("a call", EventFilter { call_id: Some("call_100".into()), ..all() }, 4),
        ("unparsed", EventFilter { unparsed_only: true, ..all() }, 1),
        ("unparsed of a company", EventFilter { unparsed_only: true, ..company("rare") }, 0),
        ("a time", EventFilter { since_ms, until_ms, ..all() }, LIMIT),
        ("a kind and a time", EventFilter { since_ms, until_ms, ..kind("call_ended") }, LIMIT),
        ("before a time", EventFilter { until_ms, ..company("acme") }, LIMIT),
    ];
    let queries: Vec<(&str, BoxedQuery)> = cases
        .into_iter()
        .map(|(name, filter, wanted)| {
            let run = move |reader: &ReaderContext| list_events(reader, &filter, wanted);
            (name, Box::new(run) as BoxedQuery)
        })
        .collect();
    let queries: Vec<_> = queries.iter().map(|(name, run)| NamedQuery { name, run: &**run }).collect();
    assert_pages_bounded(&small, &large, &queries);
}

#[test]
fn lists_of_deliveries_and_figures_do_not_scan() {
    let folder = tempfile::tempdir().unwrap();
    let [small, large] = [2_000, 20_000].map(|events| store_with_events(folder.path(), events));
    let all = DeliveryFilter::default;
    let kind = |kind: &str| DeliveryFilter { event_kinds: vec![kind.to_owned()], ..all() };
    let state = |state| DeliveryFilter { states: Some(vec![state]), ..all() };
    let (since_ms, until_ms) = (Some(START_MS + EARLY_SEQ * 9_000), Some(START_MS + EARLY_SEQ * 10_000));
    let cases = [
        ("of a kind that occurs once", kind("alert_triggered"), 2),
        ("of a kind that never occurs", kind("alert_resolved"), 0),
        ("of a company with one event", DeliveryFilter { company: Some("rare".into()), ..all() }, 2),
        ("of a call", DeliveryFilter { call_id: Some("call_100".into()), ..all() }, LIMIT),
        ("skipped", state(DeliveryState::Skipped), 0),
        ("pending", state(DeliveryState::Pending), 0),
        ("with a reason that never occurs", DeliveryFilter { reason: Some("test".into()), ..all() }, 0),
        (
            "dead of a kind",
            DeliveryFilter { event_kinds: vec!["alert_triggered".into()], ..state(DeliveryState::Dead) },
            2,
        ),
        (
            "dead of a company with one event",
            DeliveryFilter { company: Some("rare".into()), ..state(DeliveryState::Dead) },
            0,
        ),
        ("dead at a time", DeliveryFilter { since_ms, until_ms, ..state(DeliveryState::Dead) }, LIMIT),
    ];
    let mut queries: Vec<(&str, BoxedQuery)> = Vec::new();
    for (name, filter, wanted) in cases {
        queries.push((name, Box::new(move |reader: &ReaderContext| list_deliveries(reader, &filter, wanted))));
    }
    let now_ms = START_MS + EARLY_SEQ * 10_000;
    queries.push((
        "overview",
        Box::new(move |reader| assert_eq!(overview::overview(&reader.conn, now_ms).unwrap().backlogs.len(), 2)),
    ));
    queries
        .push(("backlogs", Box::new(|reader| assert_eq!(overview::backlogs(&reader.conn, 10, 0).unwrap().1.len(), 2))));
    queries.push((
        "outlook",
        Box::new(|reader| {
            let filter = EventFilter { call_id: Some("call_100".into()), ..EventFilter::default() };
            let mut query = events::query(reader, &filter).unwrap();
            let mut found = Vec::new();
            events::list_next(reader, &mut query, 1, &mut found).unwrap();
            assert_eq!(list_outlooks(&reader.conn, found[0].id).unwrap().len(), 2);
        }),
    ));
    let queries: Vec<_> = queries.iter().map(|(name, run)| NamedQuery { name, run: &**run }).collect();
    assert_pages_bounded(&small, &large, &queries);
}
