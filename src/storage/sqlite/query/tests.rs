//! Candidates and bounds are compared with a scan over all rows, for events in random order.

use rusqlite::{Connection, params, params_from_iter};

use super::index_range::merge_ranges;
use super::time_range::{is_late, seq_bounds};
use super::{CandidateStep, Candidates, EventQuery, Order, SeqBounds, SeqRange, StepLimit};
use crate::base::id::EventIdGenerator;
use crate::storage::sqlite::open::MIGRATIONS;
use crate::storage::{EventFilter, IdentityKey, Seq};

const START_MS: i64 = 1_790_000_000_000;
const ORDERS: [Order; 2] = [Order::OldestFirst, Order::NewestFirst];

/// What the filters of lists refer to.
struct TestEvent {
    seq: i64,
    company_id: i64,
    kind: Option<&'static str>,
    call_id: String,
    received_at_ms: i64,
    unparsed: bool,
}

/// 600 events of 3 companies. The clock goes back by a minute half-way, and some were imported.
fn fill(conn: &Connection) -> Vec<TestEvent> {
    let mut random = fastrand::Rng::with_seed(7);
    let ids = EventIdGenerator::default();
    let mut events = Vec::new();
    conn.execute_batch("INSERT INTO companies (id, slug, origin) VALUES (2, 'acme', 'config'), (3, 'rare', 'config')")
        .unwrap();
    for seq in 1..=600 {
        let clock_ms = START_MS + seq * 200 - if seq > 300 { 60_000 } else { 0 };
        let received_at_ms = if random.u8(..) < 10 { START_MS - random.i64(0..3_600_000) } else { clock_ms };
        let unparsed = random.u8(..) < 20;
        let kinds = ["call_started", "call_ended", "call_analyzed"];
        let event = TestEvent {
            seq,
            company_id: if seq == 451 { 3 } else { random.i64(1..=2) },
            kind: if unparsed { None } else { Some(kinds[random.usize(..kinds.len())]) },
            call_id: format!("call_{}", random.u8(..20)),
            received_at_ms,
            unparsed,
        };
        insert(conn, &event, &ids);
        events.push(event);
    }
    events
}

fn insert(conn: &Connection, event: &TestEvent, ids: &EventIdGenerator) {
    let id = ids.next_id(event.received_at_ms);
    conn.prepare_cached(
        "INSERT INTO events (seq, id, identity, company_id, event, call_id, received_at_ms, origin, state, size_bytes, late)
         VALUES (?1, ?2, x'', ?3, ?4, ?5, ?6, 0, ?7, 0, ?8)",
    )
    .unwrap()
    .execute(params![
        event.seq,
        id.as_bytes(),
        event.company_id,
        event.kind,
        event.call_id,
        event.received_at_ms,
        event.unparsed,
        is_late(id, event.received_at_ms).then_some(1),
    ])
    .unwrap();
}

fn new_store() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    for step in MIGRATIONS.steps {
        conn.execute_batch(step).unwrap();
    }
    conn
}

fn matches(event: &TestEvent, filter: &EventFilter) -> bool {
    let company = ["", "default", "acme", "rare"][usize::try_from(event.company_id).unwrap()];
    (filter.kinds.is_empty() || filter.kinds.iter().any(|kind| event.kind == Some(kind)))
        && filter.call_id.as_ref().is_none_or(|call_id| event.call_id == *call_id)
        && filter.company.as_ref().is_none_or(|slug| slug == company)
        && (!filter.unparsed_only || event.unparsed)
        && filter.since_ms.is_none_or(|since_ms| event.received_at_ms >= since_ms)
        && filter.until_ms.is_none_or(|until_ms| event.received_at_ms < until_ms)
}

/// All filters of one value per condition.
fn filters() -> Vec<EventFilter> {
    let text = |text: &str| Some(text.to_owned());
    let mut filters = vec![EventFilter::default()];
    let variants: [&dyn Fn(&EventFilter) -> EventFilter; 9] = [
        &|filter| EventFilter { kinds: vec!["call_ended".into()], ..filter.clone() },
        &|filter| EventFilter { kinds: vec!["call_ended".into(), "x".into(), "call_ended".into()], ..filter.clone() },
        &|filter| EventFilter { call_id: text("call_3"), ..filter.clone() },
        &|filter| EventFilter { company: text("acme"), ..filter.clone() },
        &|filter| EventFilter { company: text("rare"), ..filter.clone() },
        &|filter| EventFilter { company: text("unknown"), ..filter.clone() },
        &|filter| EventFilter { unparsed_only: true, ..filter.clone() },
        &|filter| EventFilter { since_ms: Some(START_MS + 30_000), ..filter.clone() },
        &|filter| EventFilter { until_ms: Some(START_MS + 40_000), ..filter.clone() },
    ];
    for variant in variants {
        filters.extend(filters.clone().iter().map(variant));
    }
    filters
}

/// The events that the query selects, in its order, read in small steps.
fn select(conn: &Connection, mut query: EventQuery) -> Vec<i64> {
    let sql = format!("SELECT 1 FROM events e WHERE e.seq = ?{}", query.conditions);
    let mut selected = Vec::new();
    loop {
        let candidates = query.next_candidates(conn, 7).unwrap();
        if candidates.is_empty() {
            return selected;
        }
        for seq in candidates {
            let values = std::iter::once(seq.0.into()).chain(query.values.iter().cloned());
            if conn.prepare_cached(&sql).unwrap().exists(params_from_iter(values)).unwrap() {
                selected.push(seq.0);
            }
        }
    }
}

#[test]
fn every_filter_selects_the_events_that_a_scan_finds() {
    let conn = new_store();
    let events = fill(&conn);
    let key = IdentityKey::from_bytes(&[7; 32]);
    for filter in filters() {
        for order in ORDERS {
            let query = EventQuery::resolve(&conn, &key, &filter, Seq(0), order).unwrap();
            let mut wanted: Vec<i64> =
                events.iter().filter(|event| matches(event, &filter)).map(|event| event.seq).collect();
            if order == Order::NewestFirst {
                wanted.reverse();
            }
            assert_eq!(select(&conn, query), wanted, "{filter:?} {order:?}");
        }
    }
}

#[test]
fn bounds_of_times_exclude_most_other_events() {
    let conn = new_store();
    let ids = EventIdGenerator::default();
    for seq in 1..=100 {
        let event = TestEvent {
            seq,
            company_id: 1,
            kind: None,
            call_id: String::new(),
            received_at_ms: START_MS + seq * 60_000,
            unparsed: false,
        };
        insert(&conn, &event, &ids);
    }
    let at = |minute: i64| Some(START_MS + minute * 60_000);
    let bounds = |since, until| seq_bounds(&conn, since, until).unwrap();
    // An id may be a second later than its event, so the event at the end is a candidate as well.
    assert_eq!(bounds(at(30), at(40)), SeqBounds { after: Seq(29), through: Seq(40) });
    assert_eq!(bounds(at(0), Some(START_MS + 59_000)), SeqBounds { after: Seq(0), through: Seq(0) });
    assert!(bounds(at(101), None).is_empty() && bounds(None, at(0)).is_empty());
    assert_eq!(bounds(None, at(500)).through, Seq(100));
}

#[test]
fn ranges_are_merged_in_both_orders() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE TABLE t (part INTEGER, seq INTEGER, PRIMARY KEY (part, seq)) WITHOUT ROWID").unwrap();
    // Part 0 is dense, part 1 rare, part 2 empty.
    for seq in 1..=5_000_i64 {
        conn.prepare_cached("INSERT INTO t VALUES (?1, ?2)")
            .unwrap()
            .execute([i64::from(seq % 1_000 == 0), seq])
            .unwrap();
    }
    let ranges: Vec<_> = (0..3).map(|part| SeqRange::index("seq", "t WHERE part = ?4", [part.into()])).collect();
    let bounds = SeqBounds { after: Seq(10), through: Seq(4_990) };
    let listed = SeqRange::listed([4_000, 7, 12, 12, 5_000].map(Seq).to_vec());
    let ranges = [ranges, vec![listed]].concat();
    for order in ORDERS {
        let mut wanted: Vec<_> = (11..=4_990).map(Seq).collect();
        if order == Order::NewestFirst {
            wanted.reverse();
        }
        assert_eq!(merge_ranges(&conn, &ranges, bounds, order, usize::MAX).unwrap(), wanted);
        assert_eq!(merge_ranges(&conn, &ranges, bounds, order, 2_000).unwrap(), wanted[..2_000]);
    }
}

/// Plans of statements that would read a large part of an index or a table.
#[test]
fn ranges_are_read_from_their_first_entry_on() {
    let conn = new_store();
    fill(&conn);
    for from_where in [super::event_query::EVENTS_OF_KIND, super::event_query::UNPARSED_OF_KIND] {
        let sql = format!("SELECT seq FROM {from_where} AND seq > ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT ?3");
        let mut explained = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let plan: Vec<String> =
            explained.query_map(params![1, 2, 3, 1, "x"], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(plan.len(), 1, "{plan:?}");
        assert!(plan[0].ends_with("(company_id=? AND event=? AND rowid>? AND rowid<?)"), "{plan:?}");
    }
}

/// All candidates, and the number of steps that it took to find them.
fn list_common(conn: &Connection, candidates: &Candidates, order: Order, limit: usize) -> (Vec<Seq>, usize) {
    let (mut found, mut steps, mut bounds) = (Vec::new(), 0, SeqBounds::ALL);
    loop {
        let CandidateStep { seqs, visited } = candidates.next(conn, bounds, order, StepLimit::new(limit)).unwrap();
        assert!(seqs.len() <= limit);
        found.extend(seqs);
        steps += 1;
        let Some(visited) = visited else { return (found, steps) };
        bounds = bounds.continue_after(visited, order);
    }
}

#[test]
fn candidates_are_in_one_range_of_each_set() {
    let mut random = fastrand::Rng::with_seed(5);
    // Dense and sparse sets, and sets with long gaps.
    for (divisor, other_divisor) in [(2, 3), (1, 500), (900, 1), (40, 70)] {
        let mut list = |divisor: i64| -> Vec<Seq> {
            (1..20_000).filter(|seq| seq / 4_000 % 2 == 0 && random.i64(0..divisor) == 0).map(Seq).collect()
        };
        let (a, b, other) = (list(divisor), list(divisor), list(other_divisor));
        let is_in = |seq: &Seq| other.contains(seq) && (a.contains(seq) || b.contains(seq));
        let mut wanted: Vec<_> = (1..20_000).map(Seq).filter(is_in).collect();
        let ranges = vec![SeqRange::listed(a.clone()), SeqRange::listed(b.clone())];
        let candidates = Candidates { ranges, others: Some(vec![SeqRange::listed(other.clone())]) };
        let conn = Connection::open_in_memory().unwrap();
        for order in ORDERS {
            assert_eq!(list_common(&conn, &candidates, order, 300).0, wanted, "{order:?} {divisor} {other_divisor}");
            wanted.reverse();
        }
    }
}

#[test]
fn a_step_ends_when_it_has_read_too_much() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(
        "CREATE TABLE t (seq INTEGER PRIMARY KEY, part INTEGER);
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200000)
         INSERT INTO t SELECT n, n % 2 FROM n;
         CREATE INDEX t_part ON t (part);",
    )
    .unwrap();
    let part = |part: i64| SeqRange::index("seq", "t INDEXED BY t_part WHERE part = ?4", [part.into()]);
    let candidates = Candidates { ranges: vec![part(0)], others: Some(vec![part(1)]) };
    for order in ORDERS {
        let (found, steps) = list_common(&conn, &candidates, order, 300);
        assert!(found.is_empty() && (4..=5).contains(&steps), "{steps} steps for 200,000 entries");
    }
}
