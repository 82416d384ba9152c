//! Inbound requests: earlier calls of a caller, and the answers that were given.

use rusqlite::{Connection, OptionalExtension, params};

use super::errors::{RowColumn, parse_column};
use crate::base::id::{CompanyId, EventId};
use crate::storage::{CallerHistory, InboundAnswerRecord, MAX_COUNTED_CALLS, StoreError};
use crate::telemetry::inbound::InboundOutcome;

/// Calls whose texts are read for [`CallerHistory`].
const MAX_CALLS_READ: u32 = 5;

// The expressions are that of the index `calls_customers`, literally, or SQLite would not use the index. With it and the
// limits the cost does not grow with the number of calls.
const COUNT_CALLS_SQL: &str = "SELECT count(*) FROM (SELECT 1 FROM calls WHERE company_id = ?1
       AND CASE direction WHEN 'outbound' THEN to_number ELSE from_number END = ?2 LIMIT ?3)";
const LATEST_CALLS_SQL: &str = "SELECT coalesce(started_at_ms, first_event_at_ms), summary, custom_analysis_data
    FROM calls WHERE company_id = ?1 AND CASE direction WHEN 'outbound' THEN to_number ELSE from_number END = ?2
    ORDER BY coalesce(started_at_ms, first_event_at_ms) DESC LIMIT ?3";

/// Earlier calls with this number on the customer's side: the caller of an inbound call, the callee of an outbound
/// one. The company's own number therefore has no history.
pub(super) fn caller_history(
    conn: &Connection,
    company_id: CompanyId,
    number: &str,
) -> Result<CallerHistory, StoreError> {
    let calls: u64 = conn
        .prepare_cached(COUNT_CALLS_SQL)?
        .query_row(params![company_id, number, MAX_COUNTED_CALLS], |row| row.get(0))?;
    let mut history = CallerHistory { call_count: calls, ..CallerHistory::default() };
    if calls == 0 {
        return Ok(history);
    }
    let mut latest = conn.prepare_cached(LATEST_CALLS_SQL)?;
    let mut rows = latest.query(params![company_id, number, MAX_CALLS_READ])?;
    while let Some(row) = rows.next()? {
        let began: Option<i64> = row.get(0)?;
        history.last_call_at_ms = history.last_call_at_ms.max(began);
        if history.last_summary.is_none() {
            history.last_summary = row.get(1)?;
        }
        history.custom_analysis_data.extend(row.get::<_, Option<String>>(2)?);
    }
    Ok(history)
}

/// Stores an answer. If the request has one already, that one stays.
pub(super) fn insert_answer(conn: &Connection, answered: &InboundAnswerRecord) -> Result<(), StoreError> {
    // `SELECT … FROM events` instead of the values: no row for an event that was not stored or has been erased
    // meanwhile.
    conn.prepare_cached(
        "INSERT OR IGNORE INTO inbound_answers (event_seq, rule, answer, outcome, duration_ms, at_ms)
         SELECT seq, ?2, ?3, ?4, ?5, ?6 FROM events WHERE id = ?1",
    )?
    .execute(params![
        answered.event_id.as_bytes(),
        answered.rule,
        answered.answer,
        answered.outcome.as_str(),
        answered.duration_ms,
        answered.answered_at_ms,
    ])?;
    Ok(())
}

pub(super) fn get_answer(conn: &Connection, event_id: EventId) -> Result<Option<InboundAnswerRecord>, StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT rule, answer, outcome, duration_ms, at_ms FROM inbound_answers
         WHERE event_seq = (SELECT seq FROM events WHERE id = ?1)",
    )?;
    let row = select.query_row([event_id.as_bytes()], |row| {
        Ok(InboundAnswerRecord {
            event_id,
            rule: row.get(0)?,
            answer: row.get(1)?,
            outcome: parse_column(row, 2, InboundOutcome::from_name, || RowColumn {
                table: "inbound_answers",
                row: format!("the event {event_id}"),
                column: "outcome",
            })?,
            duration_ms: row.get(3)?,
            answered_at_ms: row.get(4)?,
        })
    });
    Ok(row.optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::open::MIGRATIONS;

    #[test]
    fn the_history_of_a_caller_is_read_through_the_index_of_customers() {
        let conn = Connection::open_in_memory().unwrap();
        for step in MIGRATIONS.steps {
            conn.execute_batch(step).unwrap();
        }
        for sql in [COUNT_CALLS_SQL, LATEST_CALLS_SQL] {
            let mut explained = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let rows = explained.query_map(params![1, "x", 9], |row| row.get::<_, String>(3)).unwrap();
            let plan: Vec<String> = rows.map(Result::unwrap).collect();
            assert!(plan.iter().any(|step| step.contains("calls_customers (company_id=? AND <expr>=?)")), "{plan:?}");
            assert!(
                !plan.iter().any(|step| step.contains("TEMP B-TREE") || step.starts_with("SCAN calls")),
                "{plan:?}"
            );
        }
    }
}
