//! Lists, counts and batches of deliveries are compared with a scan over all rows, in stores that take several steps.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{DeliveryQuery, count_next, list_page, next_batch};
use crate::base::id::{EventId, EventIdGenerator};
use crate::storage::sqlite::open::MIGRATIONS;
use crate::storage::{DeliveryFilter, DeliveryState, IdentityKey, Seq};

const START_MS: i64 = 1_790_000_000_000;
const EVENTS: i64 = 7_000;
const HANDLERS: [&str; 2] = ["crm", "log"];
const KINDS: [&str; 3] = ["call_started", "call_ended", "call_analyzed"];

#[derive(Clone)]
struct TestDelivery {
    seq: i64,
    handler: usize,
    kind: &'static str,
    company: &'static str,
    call_id: String,
    received_at_ms: i64,
    state: DeliveryState,
    note: Option<&'static str>,
}

struct TestStore {
    conn: Connection,
    key: IdentityKey,
    deliveries: Vec<TestDelivery>,
    ids: BTreeMap<EventId, i64>,
}

/// The handler `crm` wants no events of one kind, and has dead letters of one company only.
fn fill() -> TestStore {
    let conn = Connection::open_in_memory().unwrap();
    for step in MIGRATIONS.steps {
        conn.execute_batch(step).unwrap();
    }
    conn.execute_batch(
        "INSERT INTO companies (id, slug, origin) VALUES (2, 'acme', 'config');
         INSERT INTO handlers (id, name, since, through) VALUES (1, 'crm', 0, 20000), (2, 'log', 0, 20000)",
    )
    .unwrap();
    let (mut random, generator) = (fastrand::Rng::with_seed(11), EventIdGenerator::default());
    let (mut deliveries, mut ids) = (Vec::new(), BTreeMap::new());
    for seq in 1..=EVENTS {
        let received_at_ms = START_MS + seq * 1_000;
        let id = generator.next_id(received_at_ms);
        let (kind, company_id) = (KINDS[random.usize(..3)], random.i64(1..=2));
        let call_id = format!("call_{}", random.u16(..500));
        conn.prepare_cached(
            "INSERT INTO events (seq, id, identity, company_id, event, call_id, received_at_ms, origin, state, size_bytes)
             VALUES (?1, ?2, x'', ?3, ?4, ?5, ?6, 0, 0, 0)",
        )
        .unwrap()
        .execute(params![seq, id.as_bytes(), company_id, kind, call_id, received_at_ms])
        .unwrap();
        ids.insert(id, seq);
        for handler in 0..2 {
            if handler == 0 && kind == "call_started" {
                continue;
            }
            let (state, note) = match random.u8(..) {
                0..100 if company_id == 2 => (DeliveryState::Dead, Some("refused")),
                0..100 if seq == 77 => (DeliveryState::Dead, Some("rare")),
                100..110 => (DeliveryState::Skipped, Some("revision")),
                110..112 => (DeliveryState::Scheduled, Some("refused")),
                112..115 if seq > 6_500 => (DeliveryState::Pending, None),
                _ => (DeliveryState::Succeeded, None),
            };
            let company = ["", "default", "acme"][usize::try_from(company_id).unwrap()];
            let call_id = call_id.clone();
            deliveries.push(TestDelivery { seq, handler, kind, company, call_id, received_at_ms, state, note });
            conn.prepare_cached(
                "INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, attempts, since_ms,
                   updated_ms, note, replay)
                 VALUES (?1, ?2, ?3, ?4, ?2, 1, 0, 0, ?5, 0)",
            )
            .unwrap()
            .execute(params![i64::try_from(handler).unwrap() + 1, seq, state as i64, company_id, note])
            .unwrap();
        }
    }
    TestStore { conn, key: IdentityKey::from_bytes(&[7; 32]), deliveries, ids }
}

fn matches(delivery: &TestDelivery, filter: &DeliveryFilter) -> bool {
    filter.handler.as_ref().is_none_or(|name| name == HANDLERS[delivery.handler])
        && (filter.event_kinds.is_empty() || filter.event_kinds.iter().any(|kind| kind == delivery.kind))
        && filter.call_id.as_ref().is_none_or(|call_id| *call_id == delivery.call_id)
        && filter.company.as_ref().is_none_or(|slug| slug == delivery.company)
        && filter.since_ms.is_none_or(|since_ms| delivery.received_at_ms >= since_ms)
        && filter.until_ms.is_none_or(|until_ms| delivery.received_at_ms < until_ms)
        && filter.states.as_ref().is_none_or(|states| states.contains(&delivery.state))
        && filter.reason.as_ref().is_none_or(|reason| delivery.note == Some(reason))
}

fn filters() -> Vec<DeliveryFilter> {
    use DeliveryState::{Dead, Pending, Scheduled, Skipped, Succeeded};
    let text = |text: &str| Some(text.to_owned());
    let states = |states: &[DeliveryState]| {
        let states = Some(states.to_vec());
        move |filter: &DeliveryFilter| DeliveryFilter { states: states.clone(), ..filter.clone() }
    };
    let variants: [&dyn Fn(&DeliveryFilter) -> DeliveryFilter; 14] = [
        &|filter| filter.clone(),
        &|filter| DeliveryFilter { handler: text("crm"), ..filter.clone() },
        &|filter| DeliveryFilter { event_kinds: vec!["call_started".into()], ..filter.clone() },
        &|filter| DeliveryFilter { event_kinds: vec!["call_ended".into(), "x".into()], ..filter.clone() },
        &|filter| DeliveryFilter { call_id: text("call_7"), ..filter.clone() },
        &|filter| DeliveryFilter { company: text("default"), ..filter.clone() },
        &|filter| DeliveryFilter { since_ms: Some(START_MS + 6_900_000), ..filter.clone() },
        &|filter| DeliveryFilter { until_ms: Some(START_MS + 90_000), ..filter.clone() },
        &|filter| DeliveryFilter { reason: text("rare"), ..filter.clone() },
        &|filter| DeliveryFilter { reason: text("refused"), ..filter.clone() },
        &states(&[Dead]),
        &states(&[Pending, Scheduled]),
        &states(&[Skipped, Scheduled, Dead]),
        &states(&[Succeeded, Dead]),
    ];
    let mut filters = Vec::new();
    for (index, first) in variants.iter().enumerate() {
        let first = first(&DeliveryFilter::default());
        filters.extend(variants[index..].iter().map(|second| second(&first)));
    }
    filters
}

impl TestStore {
    fn query(&self, filter: &DeliveryFilter) -> DeliveryQuery {
        DeliveryQuery::resolve(&self.conn, &self.key, filter).unwrap()
    }

    /// The sequence number and handler of each listed delivery.
    fn list(&self, filter: &DeliveryFilter, limit: usize) -> Vec<(i64, String)> {
        let mut query = self.query(filter);
        let mut listed = Vec::new();
        loop {
            let (rows, next_before) = list_page(&self.conn, &query, limit - listed.len()).unwrap();
            listed.extend(rows.into_iter().map(|row| (self.ids[&row.event_id], row.handler)));
            match next_before {
                Some(seq) if listed.len() < limit => query = query.ending_with(Seq(seq.0 - 1)),
                _ => return listed,
            }
        }
    }

    fn count(&self, filter: &DeliveryFilter) -> u64 {
        let query = self.query(filter);
        let (mut count, mut part, mut after) = (0, 0, Seq(0));
        while part < query.handler_count() {
            match count_next(&self.conn, &query, part, after).unwrap() {
                Some(step) => {
                    count += step.counts.iter().map(|counted| counted.count).sum::<u64>();
                    after = step.last;
                }
                None => (part, after) = (part + 1, Seq(0)),
            }
        }
        count
    }

    fn batches(&self, filter: &DeliveryFilter) -> Vec<i64> {
        let query = self.query(filter);
        let (mut seqs, mut part, mut after) = (Vec::new(), 0, Seq(0));
        while part < query.handler_count() {
            match next_batch(&self.conn, &query, part, after, 900).unwrap() {
                Some((batch, last)) => {
                    seqs.extend(batch.seqs.iter().map(|seq| seq.0));
                    after = last;
                }
                None => (part, after) = (part + 1, Seq(0)),
            }
        }
        seqs
    }
}

#[test]
fn every_filter_selects_the_deliveries_that_a_scan_finds() {
    let store = fill();
    for filter in filters() {
        let matching: Vec<_> = store.deliveries.iter().filter(|delivery| matches(delivery, &filter)).collect();
        let mut newest_first: Vec<(i64, String)> =
            matching.iter().map(|delivery| (delivery.seq, HANDLERS[delivery.handler].to_owned())).collect();
        newest_first.sort_by(|(a, a_handler), (b, b_handler)| b.cmp(a).then(a_handler.cmp(b_handler)));
        for limit in [50, 6_000] {
            let wanted = &newest_first[..limit.min(newest_first.len())];
            assert_eq!(store.list(&filter, limit), wanted, "{limit} of {filter:?}");
        }
        assert_eq!(store.count(&filter), matching.len() as u64, "{filter:?}");
        let mut by_handler = matching.clone();
        by_handler.sort_by_key(|delivery| (delivery.handler, delivery.seq));
        let wanted: Vec<_> = by_handler.iter().map(|delivery| delivery.seq).collect();
        assert_eq!(store.batches(&filter), wanted, "{filter:?}");
    }
}

#[test]
fn events_without_a_delivery_are_counted_for_a_named_handler() {
    let store = fill();
    let filter = DeliveryFilter {
        handler: Some("crm".into()),
        states: Some(Vec::new()),
        include_undelivered: true,
        ..DeliveryFilter::default()
    };
    let delivered = store.deliveries.iter().filter(|delivery| delivery.handler == 0).count();
    assert_eq!(store.count(&filter), u64::try_from(EVENTS).unwrap() - delivered as u64);
    assert_eq!(store.batches(&filter).len() as u64, store.count(&filter));
    let filter = DeliveryFilter { event_kinds: vec!["call_started".into()], ..filter };
    assert_eq!(store.count(&filter), u64::try_from(EVENTS).unwrap() - delivered as u64, "only these are not wanted");
}
