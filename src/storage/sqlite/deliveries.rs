//! How far each handler has come.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::query::{BODY, FROM, SUMMARY, take_chunk, with_body};
use super::readers::Reader;
use crate::storage::{Delivery, Settlement, StoreError};

pub(super) fn register(conn: &Connection, name: &str) -> Result<(), StoreError> {
    conn.execute(
        "INSERT OR IGNORE INTO handlers (name, through) VALUES (?1, (SELECT coalesce(max(seq), 0) FROM events))",
        [name],
    )?;
    Ok(())
}

/// The journal's last number, and how far each handler is behind it.
pub(super) fn backlogs(conn: &Connection) -> Result<(i64, Vec<(String, u64)>), StoreError> {
    let last = conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?.query_row([], |row| row.get(0))?;
    let mut handlers = conn.prepare_cached("SELECT name, max(?1 - through, 0) FROM handlers ORDER BY name")?;
    let backlogs = handlers.query_map([last], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((last, backlogs.collect::<Result<_, _>>()?))
}

pub(super) fn next(reader: &Reader, handler: &str, limit: usize) -> Result<Vec<Delivery>, StoreError> {
    let through: Option<i64> = reader
        .conn
        .prepare_cached("SELECT through FROM handlers WHERE name = ?1")?
        .query_row([handler], |row| row.get(0))
        .optional()?;
    let Some(through) = through else {
        return Ok(Vec::new());
    };
    let sql = format!("{SUMMARY}{BODY}, 0{FROM} WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2");
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![through, limit])?;
    take_chunk(&mut rows, |row| delivery(row, reader), size)
}

pub(super) fn due(reader: &Reader, handler: &str, now_ms: i64, limit: usize) -> Result<Vec<Delivery>, StoreError> {
    let sql = format!(
        "{SUMMARY}{BODY}, d.attempts{FROM} JOIN deliveries d ON d.event_seq = e.seq
         WHERE d.handler = ?1 AND d.state = 'scheduled' AND d.next_attempt_at_ms <= ?2
         ORDER BY d.next_attempt_at_ms LIMIT ?3"
    );
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![handler, now_ms, limit])?;
    take_chunk(&mut rows, |row| delivery(row, reader), size)
}

fn delivery(row: &Row, reader: &Reader) -> Result<Delivery, StoreError> {
    Ok(Delivery { event: with_body(row, &reader.bodies)?, attempts: row.get(20)? })
}

fn size(delivery: &Delivery) -> usize {
    delivery.event.body.as_ref().map_or(0, bytes::Bytes::len)
}

pub(super) fn settle(
    conn: &mut Connection,
    handler: &str,
    settled: &[Settlement],
    through: Option<i64>,
) -> Result<(), StoreError> {
    // All or nothing, inside a transaction shared with others.
    let part = conn.savepoint()?;
    for settlement in settled {
        settle_one(&part, handler, settlement)?;
    }
    if let Some(through) = through {
        part.prepare_cached("UPDATE handlers SET through = max(through, ?2) WHERE name = ?1")?
            .execute(params![handler, through])?;
    }
    Ok(part.commit()?)
}

fn settle_one(conn: &Connection, handler: &str, settlement: &Settlement) -> Result<(), StoreError> {
    let (seq, state, attempts, next, error) = match settlement {
        Settlement::Done { seq } => {
            conn.prepare_cached("DELETE FROM deliveries WHERE handler = ?1 AND event_seq = ?2")?
                .execute(params![handler, seq])?;
            return Ok(());
        }
        Settlement::Scheduled { seq, attempts, next_attempt_at_ms, error } => {
            (seq, "scheduled", attempts, Some(next_attempt_at_ms), error)
        }
        Settlement::Dead { seq, attempts, error } => (seq, "dead", attempts, None, error),
    };
    conn.prepare_cached(
        "INSERT OR REPLACE INTO deliveries (handler, event_seq, state, attempts, next_attempt_at_ms, last_error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![handler, seq, state, attempts, next, error])?;
    Ok(())
}
