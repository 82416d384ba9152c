//! Figures of the whole store in bounded time. Numbers of events are differences of sequence numbers, which are never
//! reused.

use rusqlite::{Connection, OptionalExtension, params};

use super::deliveries::parse_state;
use super::errors::RowColumn;
use super::events::{last_seq, seq_before};
use crate::storage::{
    BreakerState, DeliveryState, HandlerBacklog, HandlerId, Seq, StoreError, StoreOverview, UnknownValueError,
};

const HOUR_MS: i64 = 3_600_000;
/// Dead letters per handler, newest first, that are checked for the time of their last change.
const MAX_DEAD_SCANNED: i64 = 1_000;
/// Deliveries per handler that are read from the other end of the index when not all were counted.
const MAX_SCANNED_FROM_END: i64 = 1_000;

/// An unknown value is an error here, because people read the result; alarms and metrics use [`backlogs`].
pub(super) fn overview(conn: &Connection, now_ms: i64) -> Result<StoreOverview, StoreError> {
    // A read transaction, so that all figures are of the same moment: otherwise a handler could be ahead of the
    // journal.
    let snapshot = conn.unchecked_transaction()?;
    let last = last_seq(&snapshot)?;
    let query = BacklogQuery { max_counted: HandlerBacklog::MAX_COUNTED, dead_since_ms: now_ms - 24 * HOUR_MS };
    let backlogs = load_backlogs(&snapshot, last, &query)?;
    if let Some(damage) = backlogs.iter().find_map(|backlog| backlog.damage.clone()) {
        return Err(damage.into());
    }
    Ok(StoreOverview {
        accepted: last,
        accepted_last_hour: last - seq_before(&snapshot, now_ms - HOUR_MS)?,
        accepted_last_day: last - seq_before(&snapshot, now_ms - 24 * HOUR_MS)?,
        backlogs,
    })
}

/// The last sequence number of the journal and the backlog of every handler. At most `max_counted` deliveries per
/// handler are counted.
pub(super) fn backlogs(
    conn: &Connection,
    max_counted: i64,
    dead_since_ms: i64,
) -> rusqlite::Result<(i64, Vec<HandlerBacklog>)> {
    let snapshot = conn.unchecked_transaction()?;
    let last = last_seq(&snapshot)?;
    Ok((last, load_backlogs(&snapshot, last, &BacklogQuery { max_counted, dead_since_ms })?))
}

struct BacklogQuery {
    max_counted: i64,
    dead_since_ms: i64,
}

/// A handler as registered, with the parts of its backlog that its row holds.
struct HandlerProgress {
    id: HandlerId,
    /// The last event for which its deliveries have been planned.
    through: i64,
    backlog: HandlerBacklog,
}

fn load_backlogs(conn: &Connection, last: i64, query: &BacklogQuery) -> rusqlite::Result<Vec<HandlerBacklog>> {
    let mut handlers =
        conn.prepare_cached("SELECT id, name, through, breaker, breaker_since_ms FROM handlers ORDER BY name")?;
    let handlers = handlers.query_map([], |row| {
        let handler: String = row.get(1)?;
        let breaker = parse_breaker_state(row.get(3)?, &handler);
        let backlog = HandlerBacklog {
            handler,
            breaker_state: breaker.as_ref().copied().unwrap_or_default(),
            breaker_since_ms: row.get::<_, Option<i64>>(4)?.filter(|_| breaker.is_ok()),
            damage: breaker.err(),
            ..HandlerBacklog::default()
        };
        Ok(HandlerProgress { id: row.get(0)?, through: row.get(2)?, backlog })
    })?;
    let handlers: Vec<HandlerProgress> = handlers.collect::<Result<_, _>>()?;
    handlers.into_iter().map(|progress| load_backlog(conn, progress, last, query)).collect()
}

/// NULL stands for closed.
fn parse_breaker_state(name: Option<String>, handler: &str) -> Result<BreakerState, UnknownValueError> {
    let Some(name) = name else { return Ok(BreakerState::Closed) };
    BreakerState::from_name(&name).ok_or_else(|| {
        RowColumn { table: "handlers", row: format!("name {handler}"), column: "breaker" }.unknown_value(name)
    })
}

fn load_backlog(
    conn: &Connection,
    progress: HandlerProgress,
    last: i64,
    query: &BacklogQuery,
) -> rusqlite::Result<HandlerBacklog> {
    let HandlerProgress { id: handler, through, mut backlog } = progress;
    let first_unattempted = count_unfinished(conn, handler, &mut backlog, query.max_counted)?;
    // Events without a delivery yet, and pending and running deliveries. A scheduled one is not counted: the handler
    // has reached it.
    backlog.behind = (last - through).max(0) + backlog.pending + backlog.running;
    // `>=`, because the event itself may have been purged; the next one is the closest that is known.
    let received_at_ms = |seq: Seq| {
        conn.prepare_cached("SELECT received_at_ms FROM events WHERE seq >= ?1 ORDER BY seq LIMIT 1")?
            .query_row([seq], |row| row.get::<_, i64>(0))
            .optional()
    };
    if backlog.behind > 0 {
        backlog.behind_since_ms = received_at_ms(first_unattempted.map_or(Seq(through + 1), Seq))?;
    }
    let unplanned_since_ms = if last > through { received_at_ms(Seq(through + 1))? } else { None };
    backlog.oldest_waiting_since_ms = earliest(backlog.oldest_waiting_since_ms, unplanned_since_ms);
    // INDEXED BY in this module: with another plan the same statements would scan every delivery that ever existed,
    // so a missing index must be an error and not a slow query.
    let mut dead = conn.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_ended WHERE handler_id = ?1 AND state = 4
         AND (state = 4 OR state = 5) LIMIT ?2)",
    )?;
    backlog.dead = dead.query_row(params![handler, query.max_counted], |row| row.get(0))?;
    // The newest dead letters by event, because no index has the time of death. With more than the limit, old
    // events that died lately are missed; the figure feeds an alarm, which needs no exact number.
    let mut recent_dead = conn.prepare_cached(
        "SELECT count(*) FROM (SELECT updated_ms FROM deliveries INDEXED BY deliveries_ended
            WHERE handler_id = ?1 AND state = 4 AND (state = 4 OR state = 5) ORDER BY event_seq DESC LIMIT ?2) WHERE updated_ms >= ?3",
    )?;
    backlog.recent_dead =
        recent_dead.query_row(params![handler, MAX_DEAD_SCANNED, query.dead_since_ms], |row| row.get(0))?;
    Ok(backlog)
}

/// The smaller of two optional values; an absent one does not count.
fn earliest(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

/// Counts unfinished deliveries by state and returns the first event that is pending or running.
fn count_unfinished(
    conn: &Connection,
    handler: HandlerId,
    backlog: &mut HandlerBacklog,
    max_counted: i64,
) -> rusqlite::Result<Option<i64>> {
    let mut counts = conn.prepare_cached(
        "SELECT state, count(*), min(event_seq), min(since_ms) FROM (SELECT state, event_seq, since_ms
            FROM deliveries INDEXED BY deliveries_call_sequence WHERE handler_id = ?1 AND state < 3 LIMIT ?2)
         GROUP BY state",
    )?;
    let mut rows = counts.query(params![handler, max_counted])?;
    let mut first_unattempted = None;
    let mut total = 0;
    while let Some(row) = rows.next()? {
        let first_seq: Option<i64> = row.get(2)?;
        let row_key = || format!("handler {} and event seq {}", backlog.handler, first_seq.unwrap_or_default());
        let state = parse_state(row.get(0)?, row_key);
        let count: i64 = row.get(1)?;
        total += count;
        let state = match state {
            Ok(state) => state,
            Err(damage) => {
                backlog.damage.get_or_insert(damage);
                continue;
            }
        };
        match state {
            DeliveryState::Scheduled => backlog.scheduled = count,
            DeliveryState::Running => backlog.running = count,
            _ => backlog.pending = count,
        }
        if state != DeliveryState::Scheduled {
            first_unattempted = earliest(first_unattempted, first_seq);
        }
        backlog.oldest_waiting_since_ms = earliest(backlog.oldest_waiting_since_ms, row.get(3)?);
    }
    if total >= max_counted {
        // The limit cut some off, possibly the oldest: an event without a call has the ordering key `-seq`, so those
        // come first in the index with the newest in front. Read some from the other end as well.
        let mut last = conn.prepare_cached(
            "SELECT min(since_ms) FROM (SELECT since_ms FROM deliveries INDEXED BY deliveries_call_sequence
                WHERE handler_id = ?1 AND state < 3 ORDER BY ordering_key DESC, event_seq DESC LIMIT ?2)",
        )?;
        let oldest: Option<i64> = last.query_row(params![handler, MAX_SCANNED_FROM_END], |row| row.get(0))?;
        backlog.oldest_waiting_since_ms = earliest(backlog.oldest_waiting_since_ms, oldest);
    }
    Ok(first_unattempted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::open::MIGRATIONS;

    /// The backlog of a handler whose deliveries are all planned. Each delivery: event, ordering key, state, waiting
    /// since.
    fn backlog(counted: i64, deliveries: &[(i64, i64, DeliveryState, i64)]) -> HandlerBacklog {
        let conn = Connection::open_in_memory().unwrap();
        for step in MIGRATIONS.steps {
            conn.execute_batch(step).unwrap();
        }
        conn.execute_batch("INSERT INTO handlers (id, name, since, through) VALUES (1, 'crm', 0, 1000)").unwrap();
        for (seq, ordering_key, state, since_ms) in deliveries {
            conn.execute(
                "INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, attempts, since_ms,
                   updated_ms, replay)
                 VALUES (1, ?1, ?2, 1, ?3, 0, ?4, ?4, 0)",
                params![seq, *state as i64, ordering_key, since_ms],
            )
            .unwrap();
        }
        backlogs(&conn, counted, 50).unwrap().1.remove(0)
    }

    #[test]
    fn deliveries_are_counted_by_state() {
        use DeliveryState::{Dead, Pending, Running, Scheduled, Skipped, Succeeded};
        let states = [Pending, Pending, Running, Scheduled, Dead, Dead, Dead, Succeeded, Skipped];
        let deliveries: Vec<_> = (1..).zip(states).map(|(seq, state)| (seq, -seq, state, seq * 10)).collect();
        let found = backlog(100, &deliveries);
        assert_eq!((found.pending, found.running, found.scheduled, found.dead), (2, 1, 1, 3));
        assert_eq!((found.recent_dead, found.behind, found.oldest_waiting_since_ms), (3, 3, Some(10)));
        assert_eq!(backlog(100, &[]).oldest_waiting_since_ms, None);
        assert_eq!(backlog(100, &[(1, -1, Dead, 49), (2, -2, Dead, 50)]).recent_dead, 1);
    }

    #[test]
    fn the_oldest_waiting_delivery_is_found_at_either_end() {
        let alone: Vec<_> = (1..=50).map(|seq| (seq, -seq, DeliveryState::Pending, seq)).collect();
        let found = backlog(10, &alone);
        assert_eq!(
            (found.pending, found.oldest_waiting_since_ms),
            (10, Some(1)),
            "each in a separate call sequence, the newest first"
        );
        let replayed = [(3, -3, DeliveryState::Pending, 900), (7, -7, DeliveryState::Scheduled, 700)];
        assert_eq!(backlog(10, &replayed).oldest_waiting_since_ms, Some(700), "a replayed event waits from then on");
    }
}
