//! What is past its time, a batch at once. Every batch says where the next one goes on, so what has to stay is not looked
//! at again and again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{Bodies, handlers, remove_attempts, remove_call, remove_delivery, remove_event};
use crate::storage::sqlite::query::seq_before;
use crate::storage::{Companies, HandlerId, IdentityKey, Kept, Purge, PurgeCursor, Purged, StoreError};

/// Intake waits for no batch longer than about this.
const LONGEST: Duration = Duration::from_millis(15);

/// Removes a batch. Inside a transaction.
pub(in crate::storage::sqlite) fn purge(
    conn: &Connection,
    key: &IdentityKey,
    purge: &Purge,
) -> Result<Purged, StoreError> {
    let whose = Whose::of(conn, &purge.companies)?;
    match purge.kept {
        Kept::Events => events(conn, key, purge, &whose),
        Kept::Deliveries => finished(conn, purge, |seq, handler| delivery(conn, purge, &whose, handler, seq)),
        Kept::Attempts => finished(conn, purge, |seq, handler| attempts(conn, purge, &whose, handler, seq)),
        Kept::Calls => calls(conn, purge, &whose),
        Kept::Rejected => rejected(conn, purge, &whose),
    }
}

/// The companies of a rule, by number.
struct Whose {
    named: HashSet<i64>,
    all_but: bool,
}

impl Whose {
    fn of(conn: &Connection, companies: &Companies) -> Result<Self, StoreError> {
        let (slugs, all_but) = match companies {
            Companies::Only(slugs) => (slugs, false),
            Companies::AllBut(slugs) => (slugs, true),
        };
        let mut id = conn.prepare_cached("SELECT id FROM companies WHERE slug = ?1")?;
        let mut named = HashSet::new();
        for slug in slugs {
            let mut rows = id.query([slug])?;
            if let Some(row) = rows.next()? {
                named.insert(row.get(0)?);
            }
        }
        Ok(Self { named, all_but })
    }

    fn has(&self, company: i64) -> bool {
        self.named.contains(&company) != self.all_but
    }
}

fn events(conn: &Connection, key: &IdentityKey, purge: &Purge, whose: &Whose) -> Result<Purged, StoreError> {
    let protecting = protecting(conn, purge.handlers.as_deref())?;
    let looked_at = protecting.iter().map(|(_, through)| *through).min().unwrap_or(i64::MAX);
    let last = seq_before(conn, purge.before_ms)?.min(looked_at);
    let mut rows =
        conn.prepare_cached("SELECT seq, company_id FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3")?;
    let rows = rows.query_map(params![purge.after.0, last, purge.limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    let everyone = handlers(conn)?;
    let mut batch = Batch::new(rows.len() == purge.limit);
    for (seq, company) in rows {
        if batch.is_over() {
            break;
        }
        if whose.has(company) && !is_protected(conn, &protecting, seq)? {
            for handler in &everyone {
                batch.purged.along += remove_delivery(conn, *handler, seq)?;
            }
            let size_bytes = remove_event(conn, key, seq, Bodies::GiveBack, purge.now_ms)?;
            batch.purged.along.body_bytes += size_bytes.unwrap_or(0);
            batch.purged.removed += 1;
        }
        batch.at = PurgeCursor(seq, 0, String::new());
    }
    Ok(batch.finish())
}

/// Handlers whose unfinished work keeps its events, and how far each has looked at the journal.
fn protecting(conn: &Connection, names: Option<&[String]>) -> Result<Vec<(HandlerId, i64)>, StoreError> {
    let mut known = conn.prepare_cached("SELECT id, through, name FROM handlers")?;
    let known = known.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)))?;
    let mut protecting = Vec::new();
    for row in known {
        let (id, through, name) = row?;
        if names.is_none_or(|names| names.contains(&name)) {
            protecting.push((id, through));
        }
    }
    Ok(protecting)
}

fn is_protected(conn: &Connection, handlers: &[(HandlerId, i64)], seq: i64) -> Result<bool, StoreError> {
    let mut unfinished =
        conn.prepare_cached("SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state < 3")?;
    for (handler, _) in handlers {
        if unfinished.exists([*handler, seq])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// From now on no row of an event up to `seq` says nothing.
fn note_purged(conn: &Connection, handler: HandlerId, seq: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE handlers SET purged_through = max(purged_through, ?2) WHERE id = ?1")?
        .execute([handler, seq])?;
    Ok(())
}

/// Goes over the deliveries of old events, handler by handler: no index by time is needed for that.
fn finished(
    conn: &Connection,
    purge: &Purge,
    remove: impl Fn(i64, HandlerId) -> Result<Purged, StoreError>,
) -> Result<Purged, StoreError> {
    let last = seq_before(conn, purge.before_ms)?;
    let mut rows = conn.prepare_cached(
        "SELECT handler_id, event_seq FROM deliveries
         WHERE (handler_id, event_seq) > (?1, ?2) AND event_seq <= ?3 ORDER BY handler_id, event_seq LIMIT ?4",
    )?;
    let rows =
        rows.query_map(params![purge.after.0, purge.after.1, last, purge.limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(HandlerId, i64)> = rows.collect::<Result<_, _>>()?;
    let mut batch = Batch::new(rows.len() == purge.limit);
    for (handler, seq) in rows {
        if batch.is_over() {
            break;
        }
        let one = remove(seq, handler)?;
        batch.purged.removed += one.removed;
        batch.purged.along += one.along;
        batch.at = PurgeCursor(handler, seq, String::new());
    }
    Ok(batch.finish())
}

fn delivery(
    conn: &Connection,
    purge: &Purge,
    whose: &Whose,
    handler: HandlerId,
    seq: i64,
) -> Result<Purged, StoreError> {
    let mut old = conn.prepare_cached(
        "SELECT company_id FROM deliveries
         WHERE handler_id = ?1 AND event_seq = ?2 AND state >= 3 AND updated_ms < ?3",
    )?;
    let mut rows = old.query([handler, seq, purge.before_ms])?;
    let Some(company) = rows.next()?.map(|row| row.get(0)).transpose()? else {
        return Ok(Purged::default());
    };
    if !whose.has(company) {
        return Ok(Purged::default());
    }
    let gone = remove_delivery(conn, handler, seq)?;
    note_purged(conn, handler, seq)?;
    Ok(Purged { removed: gone.deliveries, along: gone, next: None })
}

fn attempts(
    conn: &Connection,
    purge: &Purge,
    whose: &Whose,
    handler: HandlerId,
    seq: i64,
) -> Result<Purged, StoreError> {
    // Those of an unfinished delivery say why it is not finished.
    let mut delivery = conn
        .prepare_cached("SELECT company_id FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state >= 3")?;
    let mut rows = delivery.query([handler, seq])?;
    let company = rows.next()?.map(|row| row.get(0)).transpose()?;
    if !company.is_some_and(|company| whose.has(company)) {
        return Ok(Purged::default());
    }
    let mut newer = conn.prepare_cached(
        "SELECT 1 FROM attempts WHERE handler_id = ?1 AND event_seq = ?2 AND started_at_ms >= ?3 LIMIT 1",
    )?;
    if newer.exists([handler, seq, purge.before_ms])? {
        return Ok(Purged::default());
    }
    Ok(Purged { removed: remove_attempts(conn, handler, seq)?, ..Purged::default() })
}

/// Calls and chats, whose rows have tables of their own.
fn calls(conn: &Connection, purge: &Purge, whose: &Whose) -> Result<Purged, StoreError> {
    let PurgeCursor(at_ms, company, call_id) = &purge.after;
    let mut rows = conn.prepare_cached(
        "SELECT last_event_at_ms, company_id, call_id FROM calls INDEXED BY calls_recent
           WHERE (last_event_at_ms, company_id, call_id) > (?1, ?2, ?3) AND last_event_at_ms < ?4
         UNION ALL SELECT last_event_at_ms, company_id, call_id FROM chats INDEXED BY chats_recent
           WHERE (last_event_at_ms, company_id, call_id) > (?1, ?2, ?3) AND last_event_at_ms < ?4
         ORDER BY last_event_at_ms, company_id, call_id LIMIT ?5",
    )?;
    let rows = rows.query_map(params![at_ms, company, call_id, purge.before_ms, purge.limit], |row| {
        Ok(PurgeCursor(row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let rows: Vec<PurgeCursor> = rows.collect::<Result<_, _>>()?;
    let mut batch = Batch::new(rows.len() == purge.limit);
    for row in rows {
        if batch.is_over() {
            break;
        }
        if whose.has(row.1) {
            batch.purged.removed += remove_call(conn, row.1, &row.2)?;
        }
        batch.at = row;
    }
    Ok(batch.finish())
}

/// There are never many.
fn rejected(conn: &Connection, purge: &Purge, whose: &Whose) -> Result<Purged, StoreError> {
    let mut rows = conn.prepare_cached(
        "SELECT r.id, coalesce(c.id, 0) FROM rejected r LEFT JOIN companies c ON c.slug = coalesce(r.company, 'default')
         WHERE r.received_at_ms < ?1",
    )?;
    let rows = rows.query_map([purge.before_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    let mut remove = conn.prepare_cached("DELETE FROM rejected WHERE id = ?1")?;
    let mut purged = Purged::default();
    for (id, company) in rows {
        if whose.has(company) {
            purged.removed += remove.execute([id])? as u64;
        }
    }
    Ok(purged)
}

/// A batch under way.
struct Batch {
    began: Instant,
    purged: Purged,
    /// The last row looked at.
    at: PurgeCursor,
    /// Whether there is more than was read.
    more: bool,
}

impl Batch {
    fn new(more: bool) -> Self {
        Self { began: Instant::now(), purged: Purged::default(), at: PurgeCursor::default(), more }
    }

    /// Whether it has taken long enough; at least one row is looked at.
    fn is_over(&mut self) -> bool {
        let over = self.at != PurgeCursor::default() && self.began.elapsed() > LONGEST;
        self.more |= over;
        over
    }

    fn finish(self) -> Purged {
        Purged { next: self.more.then_some(self.at), ..self.purged }
    }
}
