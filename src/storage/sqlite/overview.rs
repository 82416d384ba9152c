//! Figures of the whole store. Numbers of events are differences of sequence numbers, which are never used twice.

use rusqlite::{Connection, OptionalExtension, params};

use super::query::seq_before;
use crate::storage::{Backlog, Overview};

const HOUR_MS: i64 = 3_600_000;

pub(super) fn overview(conn: &Connection, now_ms: i64) -> rusqlite::Result<Overview> {
    // One look at one moment.
    let at_once = conn.unchecked_transaction()?;
    let newest: i64 =
        at_once.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?.query_row([], |row| row.get(0))?;
    let mut handlers = at_once.prepare_cached("SELECT name, through FROM handlers ORDER BY name")?;
    let handlers = handlers.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let handlers: Vec<(String, i64)> = handlers.collect::<Result<_, _>>()?;
    Ok(Overview {
        accepted: newest,
        accepted_last_hour: newest - seq_before(&at_once, now_ms - HOUR_MS)?,
        accepted_last_day: newest - seq_before(&at_once, now_ms - 24 * HOUR_MS)?,
        handlers: handlers
            .into_iter()
            .map(|(name, through)| backlog(&at_once, name, newest - through, through))
            .collect::<Result<_, _>>()?,
    })
}

fn backlog(conn: &Connection, handler: String, behind: i64, through: i64) -> rusqlite::Result<Backlog> {
    let behind_since_ms = conn
        .prepare_cached("SELECT received_at_ms FROM events WHERE seq > ?1 ORDER BY seq LIMIT 1")?
        .query_row([through], |row| row.get(0))
        .optional()?;
    let mut counts = conn.prepare_cached(
        "SELECT state, count(*) FROM (SELECT state FROM deliveries WHERE handler = ?1 LIMIT ?2) GROUP BY state",
    )?;
    let mut backlog = Backlog { handler, behind: behind.max(0), behind_since_ms, ..Backlog::default() };
    let mut rows = counts.query(params![backlog.handler, Backlog::COUNTED])?;
    while let Some(row) = rows.next()? {
        match row.get_ref(0)?.as_str()? {
            "scheduled" => backlog.scheduled = row.get(1)?,
            "dead" => backlog.dead = row.get(1)?,
            _ => {}
        }
    }
    Ok(backlog)
}
