//! Figures of the whole store. Numbers of events are differences of sequence numbers, which are never used twice.

use rusqlite::{Connection, OptionalExtension, params};

use super::query::{last_seq, seq_before};
use crate::storage::{Backlog, DeliveryState, HandlerId, Overview};

const HOUR_MS: i64 = 3_600_000;

pub(super) fn overview(conn: &Connection, now_ms: i64) -> rusqlite::Result<Overview> {
    // One look at one moment.
    let at_once = conn.unchecked_transaction()?;
    let newest = last_seq(&at_once)?;
    let mut handlers = at_once.prepare_cached("SELECT id, name, through, breaker FROM handlers ORDER BY name")?;
    let handlers = handlers.query_map([], |row| {
        let (handler, breaker) = (row.get(1)?, row.get(3)?);
        Ok((row.get(0)?, row.get(2)?, Backlog { handler, breaker, ..Backlog::default() }))
    })?;
    let handlers: Vec<(HandlerId, i64, Backlog)> = handlers.collect::<Result<_, _>>()?;
    Ok(Overview {
        accepted: newest,
        accepted_last_hour: newest - seq_before(&at_once, now_ms - HOUR_MS)?,
        accepted_last_day: newest - seq_before(&at_once, now_ms - 24 * HOUR_MS)?,
        handlers: handlers
            .into_iter()
            .map(|(id, through, empty)| backlog(&at_once, id, (through, newest), empty))
            .collect::<Result<_, _>>()?,
    })
}

fn backlog(
    conn: &Connection,
    handler: HandlerId,
    (through, newest): (i64, i64),
    mut backlog: Backlog,
) -> rusqlite::Result<Backlog> {
    let mut counts = conn.prepare_cached(
        "SELECT state, count(*), min(event_seq) FROM
            (SELECT state, event_seq FROM deliveries INDEXED BY deliveries_lane WHERE handler_id = ?1 AND state < 3 LIMIT ?2)
         GROUP BY state",
    )?;
    let mut rows = counts.query(params![handler, Backlog::COUNTED])?;
    let (mut waiting, mut first) = (0, through + 1);
    while let Some(row) = rows.next()? {
        let count: i64 = row.get(1)?;
        if DeliveryState::from_number(row.get(0)?) == DeliveryState::Scheduled {
            backlog.scheduled = count;
        } else {
            waiting += count;
            first = first.min(row.get(2)?);
        }
    }
    backlog.behind = (newest - through).max(0) + waiting;
    backlog.behind_since_ms = conn
        .prepare_cached("SELECT received_at_ms FROM events WHERE seq >= ?1 ORDER BY seq LIMIT 1")?
        .query_row([first], |row| row.get(0))
        .optional()?
        .filter(|_| backlog.behind > 0);
    backlog.dead = conn
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_dead WHERE handler_id = ?1 AND state = 4
             LIMIT ?2)",
        )?
        .query_row(params![handler, Backlog::COUNTED], |row| row.get(0))?;
    Ok(backlog)
}
