//! Reads deliveries: lists, counts, and the outlook of one event per handler.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::delivery_query::{self, DeliveryQuery, HandlerCursor, MAX_CANDIDATES, SeqSelection};
use super::parse_state;
use crate::base::id::EventId;
use crate::storage::sqlite::errors::{RowColumn, parse_column};
use crate::storage::sqlite::query::{Order, SeqBounds, StepLimit};
use crate::storage::{
    AttemptOutcome, AttemptRecord, DeliveryBatch, DeliveryCount, DeliveryOutlook, DeliveryRow, DeliveryState,
    HandlerId, Seq, StoreError,
};

/// Sequence numbers of a step when most of them are candidates: of a list, which visits all handlers in a step, and of a
/// count, which may look up each event.
const MAX_DENSE_LIST_STEP: i64 = 50_000;
const MAX_DENSE_COUNT_STEP: i64 = 25_000;
/// Candidates of a handler in a step of a list, whose step visits all handlers.
const MIN_LISTED_CANDIDATES: usize = 100;

const DELIVERY_COLUMNS: &str =
    "d.event_seq, e.id, e.event, e.call_id, d.state, d.attempts, d.due_ms, d.since_ms, d.updated_ms, d.note,
    d.replay";

/// The next deliveries that match, newest event first, after a bounded number of candidates was visited.
pub(in crate::storage::sqlite) fn list_page(
    conn: &Connection,
    query: &DeliveryQuery,
    limit: usize,
) -> Result<(Vec<DeliveryRow>, Option<Seq>), StoreError> {
    let mut deliveries: Vec<(Seq, DeliveryRow)> = Vec::new();
    // Events from this one on were visited for every handler.
    let mut visited_from = Seq(0);
    for handler in &query.handlers {
        let page = list_handler_page(conn, query, handler, limit)?;
        deliveries.extend(page.rows);
        visited_from = visited_from.max(page.visited_from);
    }
    // One handler may have been visited further than another. What it found there belongs to the next page.
    deliveries.retain(|(seq, _)| *seq >= visited_from);
    deliveries.sort_by(|(a, _), (b, _)| b.cmp(a));
    let next_before =
        if deliveries.len() > limit { deliveries.get(limit - 1).map(|(seq, _)| *seq) } else { Some(visited_from) };
    deliveries.truncate(limit);
    Ok((deliveries.into_iter().map(|(_, row)| row).collect(), next_before.filter(|seq| *seq > Seq(0))))
}

struct HandlerPage {
    rows: Vec<(Seq, DeliveryRow)>,
    /// The oldest event that was visited; 0 when all were.
    visited_from: Seq,
}

fn list_handler_page(
    conn: &Connection,
    query: &DeliveryQuery,
    handler: &HandlerCursor,
    limit: usize,
) -> Result<HandlerPage, StoreError> {
    let handlers = query.handlers.len();
    let max_candidates = if handler.has_exact_candidates { limit } else { MAX_CANDIDATES / handlers };
    let step_limit = StepLimit::share_of(max_candidates.max(MIN_LISTED_CANDIDATES), handlers);
    let step = handler.next_candidates(conn, query.bounds, Order::NewestFirst, step_limit)?;
    let mut visited_from = step.visited.unwrap_or(Seq(0));
    let mut within = SeqSelection::Listed(step.seqs);
    if let Some(dense) = dense_part(query, &within, visited_from) {
        visited_from = if dense.after > query.bounds.after { Seq(dense.after.0 + 1) } else { Seq(0) };
        within = SeqSelection::Bounds(dense);
    }
    let (mut sql, mut values) = query.select_sql(handler, &within, DELIVERY_COLUMNS, true);
    sql += " ORDER BY d.event_seq DESC LIMIT ?";
    values.push(limit_value(limit));
    let mut statement = conn.prepare_cached(&sql)?;
    let rows =
        statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, delivery_from_row(row, handler)?)))?;
    let rows: Vec<(Seq, DeliveryRow)> = rows.collect::<Result<_, _>>()?;
    if rows.len() == limit {
        visited_from = rows.last().map_or(visited_from, |(seq, _)| *seq);
    }
    Ok(HandlerPage { rows, visited_from })
}

/// The part of the table that is read instead of a full list of candidates, if these are most of what it holds: it is read
/// faster, as long as only matching deliveries need their event.
fn dense_part(query: &DeliveryQuery, candidates: &SeqSelection, visited_from: Seq) -> Option<SeqBounds> {
    let SeqSelection::Listed(seqs) = candidates else { return None };
    let first = *seqs.first()?;
    if query.needs_event() || visited_from == Seq(0) || !is_dense(visited_from, first, seqs.len()) {
        return None;
    }
    let after = Seq(first.0 - MAX_DENSE_LIST_STEP / i64::try_from(query.handlers.len()).ok()?.max(1));
    Some(SeqBounds { after: after.max(query.bounds.after), through: first })
}

/// Whether at least every second event between these two is one of the candidates.
fn is_dense(first: Seq, last: Seq, candidates: usize) -> bool {
    usize::try_from(last.0 - first.0).is_ok_and(|numbers| numbers < candidates * 2)
}

fn delivery_from_row(row: &Row, handler: &HandlerCursor) -> rusqlite::Result<DeliveryRow> {
    let seq: Seq = row.get(0)?;
    let state = parse_state(row.get(4)?, || format!("handler {} and event seq {seq}", handler.name))?;
    Ok(DeliveryRow {
        event_id: EventId::from_bytes(row.get(1)?),
        event_kind: row.get(2)?,
        call_id: row.get(3)?,
        handler: handler.name.clone(),
        state,
        attempts: row.get(5)?,
        due_ms: row.get(6)?,
        queued_at_ms: row.get(7)?,
        updated_ms: row.get(8)?,
        reason: row.get(9)?,
        is_replay: row.get(10)?,
    })
}

fn limit_value(limit: usize) -> Value {
    Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX))
}

/// Counts the next candidates of one handler that match, by state; skipped ones also by reason. `None` at the end.
pub(in crate::storage::sqlite) fn count_next(
    conn: &Connection,
    query: &DeliveryQuery,
    handler_index: usize,
    after: Seq,
) -> Result<Option<CountedStep>, StoreError> {
    let Some((handler, within, last)) = next_step(conn, query, handler_index, after)? else { return Ok(None) };
    // The note of a dead or scheduled delivery is an error text, which may differ in every row.
    let reason = format!("CASE d.state WHEN {} THEN d.note END", DeliveryState::Skipped as i64);
    let columns = format!("d.state, {reason}, count(*), min(d.event_seq)");
    let (mut sql, values) = query.select_sql(handler, &within, &columns, false);
    sql += " GROUP BY 1, 2";
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| {
        let first_seq: Option<i64> = row.get(3)?;
        let row_key = || format!("handler {} and event seq {}", handler.name, first_seq.unwrap_or_default());
        let parse = |number| parse_state(number, row_key);
        Ok(DeliveryCount {
            handler: handler.name.clone(),
            state: row.get::<_, Option<i64>>(0)?.map(parse).transpose()?,
            reason: row.get(1)?,
            count: row.get(2)?,
        })
    })?;
    Ok(Some(CountedStep { counts: rows.collect::<Result<_, _>>()?, last }))
}

/// The result of one step of counting.
pub(in crate::storage::sqlite) struct CountedStep {
    pub(in crate::storage::sqlite) counts: Vec<DeliveryCount>,
    /// The last event that was visited.
    pub(in crate::storage::sqlite) last: Seq,
}

/// The next candidates after an event, and the last event that they cover. When most events are candidates, a part of
/// the table that holds them and others: it is read faster than a list.
fn next_step<'a>(
    conn: &Connection,
    query: &'a DeliveryQuery,
    handler_index: usize,
    after: Seq,
) -> Result<Option<(&'a HandlerCursor, SeqSelection, Seq)>, StoreError> {
    let Some(handler) = query.handlers.get(handler_index) else { return Ok(None) };
    let bounds = query.bounds.continue_after(after, Order::OldestFirst);
    let step = handler.next_candidates(conn, bounds, Order::OldestFirst, StepLimit::new(MAX_CANDIDATES))?;
    let candidates = step.seqs;
    let (Some(first), Some(last)) = (candidates.first().copied(), candidates.last().copied()) else {
        // None so far, but the index has more.
        return Ok(step.visited.map(|last| (handler, SeqSelection::Listed(candidates), last)));
    };
    let last = step.visited.unwrap_or(last);
    if step.visited.is_none() || !is_dense(first, last, candidates.len()) {
        return Ok(Some((handler, SeqSelection::Listed(candidates), last)));
    }
    let last = Seq(first.0.saturating_add(MAX_DENSE_COUNT_STEP)).min(bounds.through);
    Ok(Some((handler, SeqSelection::Bounds(SeqBounds { after: Seq(first.0 - 1), through: last }), last)))
}

/// The next deliveries of one handler, oldest event first: at most `limit`, and the last event that was visited. `None` at
/// the end.
pub(in crate::storage::sqlite) fn next_batch(
    conn: &Connection,
    query: &DeliveryQuery,
    handler_index: usize,
    after: Seq,
    limit: usize,
) -> Result<Option<(DeliveryBatch, Seq)>, StoreError> {
    let Some(handler) = query.handlers.get(handler_index) else { return Ok(None) };
    let bounds = query.bounds.continue_after(after, Order::OldestFirst);
    let step = handler.next_candidates(conn, bounds, Order::OldestFirst, StepLimit::new(MAX_CANDIDATES))?;
    let Some(last_visited) = step.visited.or(step.seqs.last().copied()) else { return Ok(None) };
    let seq = query.seq_column();
    let (mut sql, mut values) = query.select_sql(handler, &SeqSelection::Listed(step.seqs), seq, false);
    sql.extend([" ORDER BY ", seq, " LIMIT ?"]);
    values.push(limit_value(limit));
    let mut statement = conn.prepare_cached(&sql)?;
    let seqs = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    let seqs: Vec<Seq> = seqs.collect::<Result<_, _>>()?;
    let is_full = seqs.len() == limit;
    let last = seqs.last().copied().filter(|_| is_full).unwrap_or(last_visited);
    Ok(Some((DeliveryBatch { handler_id: handler.id, seqs }, last)))
}

/// The outlook of an event for each handler in the store.
pub(in crate::storage::sqlite) fn list_outlooks(
    conn: &Connection,
    id: EventId,
) -> Result<Vec<(String, DeliveryOutlook)>, StoreError> {
    // One snapshot: a purge between two reads could remove a delivery, and the event would appear as filtered.
    let snapshot = conn.unchecked_transaction()?;
    let seq = delivery_query::get_event_seq(&snapshot, id)?;
    let mut outlooks = Vec::new();
    for handler in delivery_query::list_handlers(&snapshot)? {
        let outlook = get_outlook(&snapshot, &handler, seq)?;
        outlooks.push((handler.name, outlook));
    }
    Ok(outlooks)
}

fn get_outlook(conn: &Connection, handler: &HandlerCursor, seq: Seq) -> Result<DeliveryOutlook, StoreError> {
    let sql = format!(
        "SELECT {DELIVERY_COLUMNS} FROM deliveries d JOIN events e ON e.seq = d.event_seq
         WHERE d.handler_id = ?1 AND d.event_seq = ?2"
    );
    let row = conn
        .prepare_cached(&sql)?
        .query_row(params![handler.id, seq], |row| delivery_from_row(row, handler))
        .optional()?;
    // Without a row, the handler's positions tell why. The order matters: after a purge, the lack of a row says
    // nothing about the filter any more.
    Ok(match row {
        Some(row) => DeliveryOutlook::Delivery(row, list_attempts(conn, handler.id, seq)?),
        None if seq > handler.planned_through => DeliveryOutlook::Unplanned,
        None if seq <= handler.registered_at_seq => DeliveryOutlook::BeforeHandler,
        None if seq <= handler.purged_through => DeliveryOutlook::Removed,
        None => DeliveryOutlook::Filtered,
    })
}

fn list_attempts(conn: &Connection, handler: HandlerId, seq: Seq) -> Result<Vec<AttemptRecord>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT 1 AS attempt, started_at_ms, duration_ms, 'done', status, NULL, NULL FROM deliveries
         WHERE handler_id = ?1 AND event_seq = ?2 AND started_at_ms IS NOT NULL
         UNION ALL SELECT attempt, started_at_ms, duration_ms, outcome, status, error, answer FROM attempts
         WHERE handler_id = ?1 AND event_seq = ?2 ORDER BY started_at_ms, attempt",
    )?;
    let rows = statement.query_map(params![handler, seq], |row| {
        Ok(AttemptRecord {
            attempt: row.get(0)?,
            started_at_ms: row.get(1)?,
            duration_ms: row.get(2)?,
            outcome: parse_column(row, 3, AttemptOutcome::from_name, || RowColumn {
                table: "attempts",
                row: format!("handler id {handler} and event seq {seq}"),
                column: "outcome",
            })?,
            status: row.get(4)?,
            error: row.get(5)?,
            answer: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
