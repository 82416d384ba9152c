//! Figures of the whole store. Numbers of events are differences of sequence numbers, which are never used twice.

use rusqlite::{Connection, OptionalExtension, params};

use super::events::{last_seq, seq_before};
use crate::storage::{BreakerState, DeliveryState, HandlerBacklog, HandlerId, StoreOverview};

const HOUR_MS: i64 = 3_600_000;
/// Dead letters of a handler that are looked at for when they died.
const MAX_DEAD_SCANNED: i64 = 1_000;
/// Deliveries that are looked at from the other end when not all were counted.
const MAX_SCANNED_FROM_END: i64 = 10_000;

pub(super) fn overview(conn: &Connection, now_ms: i64) -> rusqlite::Result<StoreOverview> {
    // One look at one moment.
    let at_once = conn.unchecked_transaction()?;
    let newest = last_seq(&at_once)?;
    Ok(StoreOverview {
        accepted: newest,
        accepted_last_hour: newest - seq_before(&at_once, now_ms - HOUR_MS)?,
        accepted_last_day: newest - seq_before(&at_once, now_ms - 24 * HOUR_MS)?,
        backlogs: load_backlogs(
            &at_once,
            newest,
            &BacklogQuery { max_counted: HandlerBacklog::MAX_COUNTED, dead_since_ms: now_ms - 24 * HOUR_MS },
        )?,
    })
}

/// The journal's last number, and every handler's backlog.
pub(super) fn backlogs(
    conn: &Connection,
    counted: i64,
    dead_since_ms: i64,
) -> rusqlite::Result<(i64, Vec<HandlerBacklog>)> {
    let at_once = conn.unchecked_transaction()?;
    let newest = last_seq(&at_once)?;
    Ok((newest, load_backlogs(&at_once, newest, &BacklogQuery { max_counted: counted, dead_since_ms })?))
}

struct BacklogQuery {
    max_counted: i64,
    dead_since_ms: i64,
}

fn load_backlogs(conn: &Connection, newest: i64, asked: &BacklogQuery) -> rusqlite::Result<Vec<HandlerBacklog>> {
    let mut handlers =
        conn.prepare_cached("SELECT id, name, through, breaker, breaker_since_ms FROM handlers ORDER BY name")?;
    let handlers = handlers.query_map([], |row| {
        let breaker = row.get::<_, Option<String>>(3)?.as_deref().map_or(BreakerState::Closed, BreakerState::from_name);
        let known = HandlerBacklog {
            handler: row.get(1)?,
            breaker_state: breaker,
            breaker_since_ms: row.get(4)?,
            ..HandlerBacklog::default()
        };
        Ok((row.get(0)?, row.get(2)?, known))
    })?;
    let handlers: Vec<(HandlerId, i64, HandlerBacklog)> = handlers.collect::<Result<_, _>>()?;
    let full = |(id, through, known)| load_backlog(conn, id, (through, newest), known, asked);
    handlers.into_iter().map(full).collect()
}

fn load_backlog(
    conn: &Connection,
    handler: HandlerId,
    (through, newest): (i64, i64),
    mut backlog: HandlerBacklog,
    asked: &BacklogQuery,
) -> rusqlite::Result<HandlerBacklog> {
    let first = count_unfinished(conn, handler, &mut backlog, asked.max_counted)?;
    let waits = backlog.pending + backlog.running;
    backlog.behind = (newest - through).max(0) + waits;
    let received = |seq: i64| {
        conn.prepare_cached("SELECT received_at_ms FROM events WHERE seq >= ?1 ORDER BY seq LIMIT 1")?
            .query_row([seq], |row| row.get::<_, i64>(0))
            .optional()
    };
    if backlog.behind > 0 {
        backlog.behind_since_ms = received(first.unwrap_or(through + 1))?;
    }
    let unplanned = if newest > through { received(through + 1)? } else { None };
    backlog.oldest_waiting_since_ms = backlog.oldest_waiting_since_ms.into_iter().chain(unplanned).min();
    let mut dead = conn.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_dead WHERE handler_id = ?1 AND state = 4
         LIMIT ?2)",
    )?;
    backlog.dead = dead.query_row(params![handler, asked.max_counted], |row| row.get(0))?;
    let mut lately = conn.prepare_cached(
        "SELECT count(*) FROM (SELECT updated_ms FROM deliveries INDEXED BY deliveries_dead
            WHERE handler_id = ?1 AND state = 4 ORDER BY event_seq DESC LIMIT ?2) WHERE updated_ms >= ?3",
    )?;
    backlog.recent_dead =
        lately.query_row(params![handler, MAX_DEAD_SCANNED, asked.dead_since_ms], |row| row.get(0))?;
    Ok(backlog)
}

/// Counts what is not finished by state; the first event that no attempt was made at.
fn count_unfinished(
    conn: &Connection,
    handler: HandlerId,
    backlog: &mut HandlerBacklog,
    counted: i64,
) -> rusqlite::Result<Option<i64>> {
    let mut counts = conn.prepare_cached(
        "SELECT state, count(*), min(event_seq), min(since_ms) FROM (SELECT state, event_seq, since_ms
            FROM deliveries INDEXED BY deliveries_call_sequence WHERE handler_id = ?1 AND state < 3 LIMIT ?2)
         GROUP BY state",
    )?;
    let mut rows = counts.query(params![handler, counted])?;
    let (mut first, mut all) = (None, 0);
    while let Some(row) = rows.next()? {
        let count: i64 = row.get(1)?;
        all += count;
        match DeliveryState::from_number(row.get(0)?) {
            DeliveryState::Scheduled => backlog.scheduled = count,
            DeliveryState::Running => backlog.running = count,
            _ => backlog.pending = count,
        }
        if DeliveryState::from_number(row.get(0)?) != DeliveryState::Scheduled {
            first = first.into_iter().chain(Some(row.get(2)?)).min();
        }
        backlog.oldest_waiting_since_ms = backlog.oldest_waiting_since_ms.into_iter().chain(Some(row.get(3)?)).min();
    }
    if all >= counted {
        // Not all were seen. Events in lanes of their own lie there with the newest first, so look from the other end too.
        let mut last = conn.prepare_cached(
            "SELECT min(since_ms) FROM (SELECT since_ms FROM deliveries INDEXED BY deliveries_call_sequence
                WHERE handler_id = ?1 AND state < 3 ORDER BY ordering_key DESC, event_seq DESC LIMIT ?2)",
        )?;
        let oldest: Option<i64> = last.query_row([handler, MAX_SCANNED_FROM_END], |row| row.get(0))?;
        backlog.oldest_waiting_since_ms = backlog.oldest_waiting_since_ms.into_iter().chain(oldest).min();
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::open::MIGRATIONS;

    /// A handler that has looked at everything, with a delivery for each of these: event, lane, state, waiting since.
    fn backlog(counted: i64, deliveries: &[(i64, i64, DeliveryState, i64)]) -> HandlerBacklog {
        let conn = Connection::open_in_memory().unwrap();
        for step in MIGRATIONS {
            conn.execute_batch(step).unwrap();
        }
        conn.execute_batch("INSERT INTO handlers (id, name, since, through) VALUES (1, 'crm', 0, 1000)").unwrap();
        for (seq, ordering_key, state, since_ms) in deliveries {
            conn.execute(
                "INSERT INTO deliveries (handler_id, event_seq, state, company_id, ordering_key, attempts, since_ms, updated_ms, replay)
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
    fn the_oldest_is_found_at_either_end() {
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
