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

use crate::storage::{BreakerState, HandlerId, HandlerRow, StoreError};

/// A handler that is new starts behind the latest event. Whatever its breaker was, it begins anew.
pub(super) fn register(conn: &Connection, handler: &HandlerRow) -> Result<HandlerId, StoreError> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO handlers (name, since, through, ordered, hold_ms)
         SELECT ?1, latest, latest, ?2, ?3 FROM (SELECT coalesce(max(seq), 0) AS latest FROM sqlite_sequence
            WHERE name = 'events') WHERE true
         ON CONFLICT (name) DO UPDATE SET ordered = excluded.ordered, hold_ms = excluded.hold_ms, breaker = NULL,
            breaker_since_ms = NULL
         RETURNING id",
    )?;
    Ok(statement.query_row(params![handler.name, handler.ordered, handler.hold_ms], |row| row.get(0))?)
}

/// Shows the state, and since when attempts are not simply made.
pub(super) fn note_breaker(
    conn: &Connection,
    handler: HandlerId,
    state: BreakerState,
    now_ms: i64,
) -> Result<(), StoreError> {
    let shown = (state != BreakerState::Closed).then_some(state.as_str());
    conn.prepare_cached(
        "UPDATE handlers SET breaker = ?2, breaker_since_ms = CASE WHEN ?2 IS NULL THEN NULL
            ELSE coalesce(breaker_since_ms, ?3) END
         WHERE id = ?1",
    )?
    .execute(params![handler, shown, now_ms])?;
    Ok(())
}
