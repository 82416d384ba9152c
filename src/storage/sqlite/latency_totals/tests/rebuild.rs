//! Damaged totals are found and corrected while a receiver writes.

use super::*;
use crate::storage::sqlite::latency_totals::check::TotalsComparison;
use crate::storage::sqlite::wal::MAX_WAL_BYTES_OF_READS;
use crate::storage::{DeliveryAdmin, TotalsRebuild};

/// Two handlers with a successful first attempt for each of these events, and a failed one for each third event.
fn insert_attempts(conn: &Connection, first: i64, last: i64) {
    let counts_by_name =
        "INSERT INTO attempt_totals SELECT company, span, at / 3600000 / span, name, outcome, bucket, count(*)
         FROM (SELECT h.name, 'done' AS outcome, d.started_at_ms AS at, 0 AS bucket, d.event_seq FROM deliveries d
               JOIN handlers h ON h.id = d.handler_id
               UNION ALL SELECT h.name, 'retry', a.started_at_ms, 0, a.event_seq FROM attempts a
               JOIN handlers h ON h.id = a.handler_id)
         JOIN (SELECT 0 AS company UNION ALL SELECT 1) JOIN (SELECT 1 AS span UNION ALL SELECT 24)
         WHERE event_seq >= ?1 GROUP BY 1, 2, 3, 4, 5, 6
         ON CONFLICT DO UPDATE SET count = count + excluded.count";
    let insert = format!(
        "BEGIN;
         INSERT OR IGNORE INTO handlers (id, name, since, through) VALUES (1, 'crm', 0, 99), (2, 'log', 0, 99);
         WITH RECURSIVE n(seq) AS (SELECT {first} UNION ALL SELECT seq + 1 FROM n WHERE seq < {last})
         INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, attempts, since_ms, updated_ms,
           replay, started_at_ms, duration_ms)
         SELECT h.id, seq, 3, 1, seq, 1, 0, 0, 0, {START_MS} + seq * 60000, 0 FROM n JOIN handlers h;
         INSERT INTO attempts (handler_id, event_seq, started_at_ms, attempt, duration_ms, outcome)
         SELECT handler_id, event_seq, started_at_ms - 1, 1, 0, 'retry' FROM deliveries
         WHERE event_seq BETWEEN {first} AND {last} AND event_seq % 3 = 0;"
    );
    conn.execute_batch(&insert).unwrap();
    conn.execute(counts_by_name, [first]).unwrap();
    conn.execute_batch("COMMIT").unwrap();
}

async fn run(mut rebuild: Box<dyn TotalsRebuild>, mut between_steps: impl FnMut()) -> (u64, u64) {
    let (mut counted, mut corrected) = (0, 0);
    while let Some(step) = rebuild.correct_next().await.unwrap() {
        counted += step.counted;
        corrected += step.corrected_totals;
        between_steps();
    }
    (counted, corrected)
}

#[tokio::test]
async fn damaged_totals_are_corrected_while_attempts_are_recorded() {
    let fixture = Fixture::new();
    let conn = fixture.connect(TotalsTable::Attempts);
    insert_attempts(&conn, 1, 30_000);
    assert_eq!(fixture.count_differing(TotalsTable::Attempts), 0);
    conn.execute_batch(
        "DELETE FROM attempt_totals WHERE start % 3 = 0;
         UPDATE attempt_totals SET count = count - 999999 WHERE start % 3 = 1 AND name = 'log';
         INSERT INTO attempt_totals VALUES (0, 24, 7, 'gone', 'done', 3, 5), (1, 24, 7, 'crm', 'unknown', 3, 5);",
    )
    .unwrap();
    let differing = fixture.count_differing(TotalsTable::Attempts);
    assert!(differing > 1_000, "{differing}");
    let negative = fixture.store.attempt_stats(ALL).await.unwrap();
    assert!(negative.contains_key(&LatencyKey::Text("gone".into())), "a negative total does not hide the others");
    let mut last = 30_000;
    let rebuild = fixture.store.rebuild_attempt_totals().await.unwrap();
    let (counted, corrected) = run(rebuild, || {
        insert_attempts(&conn, last + 1, last + 1);
        last += 1;
    })
    .await;
    assert!(counted >= 80_000 && corrected == differing, "{counted} {corrected} {differing}");
    assert_eq!(fixture.count_differing(TotalsTable::Attempts), 0);
    let again = run(fixture.store.rebuild_attempt_totals().await.unwrap(), || {}).await;
    assert_eq!(again, ((last + last / 3).unsigned_abs() * 2, 0));
}

#[tokio::test]
async fn two_rebuilds_do_not_correct_the_same_difference() {
    let fixture = Fixture::new();
    let conn = fixture.connect(TotalsTable::Attempts);
    insert_attempts(&conn, 1, 9);
    conn.execute_batch("UPDATE attempt_totals SET count = count + 1").unwrap();
    let mut first = fixture.store.rebuild_attempt_totals().await.unwrap();
    let mut second = fixture.store.rebuild_attempt_totals().await.unwrap();
    let mut corrected = 0;
    loop {
        let steps = (first.correct_next().await.unwrap(), second.correct_next().await.unwrap());
        corrected += steps.0.map_or(0, |step| step.corrected_totals) + steps.1.map_or(0, |step| step.corrected_totals);
        if steps == (None, None) {
            break;
        }
    }
    assert_eq!(corrected, 16, "two handlers, two outcomes, two periods, with and without the company");
    assert_eq!(fixture.count_differing(TotalsTable::Attempts), 0);
}

#[tokio::test]
async fn a_comparison_ends_when_the_log_has_grown() {
    let fixture = Fixture::new();
    let conn = fixture.connect(TotalsTable::Attempts);
    insert_attempts(&conn, 1, 30_000);
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let open = |max_wal_bytes| TotalsComparison::open(&fixture.url, TotalsTable::Attempts, max_wal_bytes).unwrap();
    let (mut small, mut large) = (open(64 * 1024), open(MAX_WAL_BYTES_OF_READS));
    assert!(small.step().unwrap().is_some() && large.step().unwrap().is_some());
    insert_attempts(&conn, 30_001, 40_000);
    let error = small.step().err().unwrap().to_string();
    assert!(error.contains("let the write-ahead log grow to") && error.contains("stop the receiver"), "{error}");
    assert!(large.step().unwrap().is_some());
}
