//! Deliveries: planned from the journal, claimed by handlers, settled.

mod change;
#[cfg(test)]
mod change_tests;
mod claim;
mod lanes;
mod look;
mod plan;
mod select;
mod settle;
#[cfg(test)]
mod tests;

pub(super) use change::change;
pub(super) use claim::{claim, events, next_due, release_all};
pub(super) use lanes::advance;
pub(super) use look::{chosen, count, fates, list};
pub(super) use plan::{plan, unplanned};
pub(super) use select::Selection;
pub(super) use settle::settle;

use rusqlite::{Connection, params};

use super::query::last_seq;
use crate::storage::{BreakerState, HandlerId, HandlerRow, StoreError};

/// Deliveries counted for a handler: a count takes time.
const COUNTED: i64 = 100_000;

/// A handler that is new starts behind the latest event.
pub(super) fn register(conn: &Connection, handler: &HandlerRow) -> Result<HandlerId, StoreError> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO handlers (name, since, through, ordered, hold_ms)
         SELECT ?1, latest, latest, ?2, ?3 FROM (SELECT coalesce(max(seq), 0) AS latest FROM sqlite_sequence WHERE name = 'events') WHERE true
         ON CONFLICT (name) DO UPDATE SET ordered = excluded.ordered, hold_ms = excluded.hold_ms
         RETURNING id",
    )?;
    Ok(statement.query_row(params![handler.name, handler.ordered, handler.hold_ms], |row| row.get(0))?)
}

/// The journal's last number, and how many events each handler has not been given yet.
pub(super) fn backlogs(conn: &Connection) -> Result<(i64, Vec<(String, u64)>), StoreError> {
    let last = last_seq(conn)?;
    let mut handlers = conn.prepare_cached(
        "SELECT name, max(?1 - through, 0) + (SELECT count(*) FROM
            (SELECT 1 FROM deliveries INDEXED BY deliveries_lane WHERE handler_id = h.id AND state < 3 AND state < 2
             LIMIT ?2))
         FROM handlers h ORDER BY name",
    )?;
    let backlogs = handlers.query_map([last, COUNTED], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((last, backlogs.collect::<Result<_, _>>()?))
}

pub(super) fn note_breaker(
    conn: &Connection,
    handler: HandlerId,
    state: BreakerState,
    now_ms: i64,
) -> Result<(), StoreError> {
    let shown = (state != BreakerState::Closed).then_some(state.as_str());
    conn.prepare_cached("UPDATE handlers SET breaker = ?2, breaker_since_ms = ?3 WHERE id = ?1")?.execute(params![
        handler,
        shown,
        shown.map(|_| now_ms)
    ])?;
    Ok(())
}
