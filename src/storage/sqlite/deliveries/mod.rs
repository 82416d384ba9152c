//! Deliveries: planned from the journal, claimed for an attempt, settled after it.

mod body_recheck;
mod bulk_operation;
mod call_sequence;
mod claim;
mod clock_correction;
mod delivery_query;
mod lease;
mod plan;
mod plan_cache;
#[cfg(test)]
mod query_tests;
mod read;
mod settle;
#[cfg(test)]
mod tests;
mod update;

pub(super) use body_recheck::{MAX_ROWS_RECHECKED, ReadableDeliveries, find_readable, resume};
pub(super) use bulk_operation::apply_bulk_operation;
pub(super) use call_sequence::advance_call_sequence;
pub(super) use claim::{ClaimedRow, load_claimed_events, next_due_ms};
pub(super) use clock_correction::{MAX_ROWS_CORRECTED, correct_times, find_future};
pub(super) use delivery_query::DeliveryQuery;
pub(super) use lease::{release_all_leases, renew_leases};
pub(super) use plan::{list_events_after, stored_position};
pub(super) use plan_cache::{PlanCache, PlanRead};
pub(super) use read::{CountedStep, count_next, list_outlooks, list_page, next_batch};
pub(super) use update::{UpdateContext, update_queue};

use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params};

use crate::storage::sqlite::errors::RowColumn;
use crate::storage::{BreakerState, DeliveryState, HandlerId, HandlerRow, StoreError, UnknownValueError};

/// The state with this number; an error that names the row when there is none. Claims and call sequences leave such a
/// row out, so it stops no other delivery.
pub(super) fn parse_state(number: i64, row_key: impl FnOnce() -> String) -> Result<DeliveryState, UnknownValueError> {
    DeliveryState::from_number(number).ok_or_else(|| {
        RowColumn { table: "deliveries", row: row_key(), column: "state" }.unknown_value(number.to_string())
    })
}

impl ToSql for HandlerId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0))
    }
}

impl FromSql for HandlerId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

/// Inserts a handler, or updates the settings of a known one, and returns its id. A new handler starts after the
/// latest event. A known one keeps its position in the journal.
pub(super) fn register_handler(conn: &Connection, handler: &HandlerRow) -> Result<HandlerId, StoreError> {
    // `sqlite_sequence` instead of `max(seq)`: the latest events may have been purged, and their numbers are not
    // reused. `WHERE true` is there for SQLite's parser, which would otherwise read ON CONFLICT as a join condition.
    // A worker starts with a closed circuit breaker, so the state that an earlier worker stored is reset.
    let mut statement = conn.prepare_cached(
        "INSERT INTO handlers (name, since, through, ordered, ordering_timeout_ms)
         SELECT ?1, latest, latest, ?2, ?3 FROM (SELECT coalesce(max(seq), 0) AS latest FROM sqlite_sequence
            WHERE name = 'events') WHERE true
         ON CONFLICT (name) DO UPDATE SET ordered = excluded.ordered,
            ordering_timeout_ms = excluded.ordering_timeout_ms, breaker = NULL, breaker_since_ms = NULL
         RETURNING id",
    )?;
    Ok(statement.query_row(params![handler.name, handler.ordered, handler.ordering_timeout_ms], |row| row.get(0))?)
}

/// Stores the state of a handler's circuit breaker for `status` and metrics: NULL when closed.
pub(super) fn update_breaker_state(
    conn: &Connection,
    handler: HandlerId,
    state: BreakerState,
    now_ms: i64,
) -> Result<(), StoreError> {
    let stored_state = (state != BreakerState::Closed).then_some(state.as_str());
    // `breaker_since_ms` survives the steps between open and half-open: it is the start of the whole outage.
    conn.prepare_cached(
        "UPDATE handlers SET breaker = ?2, breaker_since_ms = CASE WHEN ?2 IS NULL THEN NULL
            ELSE coalesce(breaker_since_ms, ?3) END
         WHERE id = ?1",
    )?
    .execute(params![handler, stored_state, now_ms])?;
    Ok(())
}
