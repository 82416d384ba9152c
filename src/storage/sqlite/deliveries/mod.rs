//! Deliveries: planned from the journal, claimed by handlers, settled.

mod bulk_operation;
#[cfg(test)]
mod bulk_operation_tests;
mod call_sequence;
mod claim;
mod delivery_query;
mod plan;
mod read;
mod settle;
#[cfg(test)]
mod tests;

pub(super) use bulk_operation::apply_bulk_operation;
pub(super) use call_sequence::advance_call_sequence;
pub(super) use claim::{claim, load_claimed_events, next_due_ms, release_all_leases};
pub(super) use delivery_query::DeliveryQuery;
pub(super) use plan::{insert_planned, list_unplanned};
pub(super) use read::{count_deliveries, list_deliveries, list_outlooks, next_batch};
pub(super) use settle::settle;

use rusqlite::{Connection, params};

use crate::storage::{BreakerState, HandlerId, HandlerRow, StoreError};

/// A handler that is new starts behind the latest event. Whatever its breaker was, it begins anew.
pub(super) fn register_handler(conn: &Connection, handler: &HandlerRow) -> Result<HandlerId, StoreError> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO handlers (name, since, through, ordered, ordering_timeout_ms)
         SELECT ?1, latest, latest, ?2, ?3 FROM (SELECT coalesce(max(seq), 0) AS latest FROM sqlite_sequence
            WHERE name = 'events') WHERE true
         ON CONFLICT (name) DO UPDATE SET ordered = excluded.ordered, ordering_timeout_ms = excluded.ordering_timeout_ms, breaker = NULL,
            breaker_since_ms = NULL
         RETURNING id",
    )?;
    Ok(statement.query_row(params![handler.name, handler.ordered, handler.max_hold_ms], |row| row.get(0))?)
}

/// Shows the state, and since when attempts are not simply made.
pub(super) fn update_breaker_state(
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
