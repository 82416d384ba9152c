//! What is past its time, a batch at once. Every batch says where the next one goes on, so what has to stay is not looked
//! at again and again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{BodyDisposal, delete_attempts, delete_call, delete_delivery, delete_event, list_handler_ids};
use crate::storage::sqlite::events::seq_before;
use crate::storage::{
    CompanyScope, HandlerId, IdentityKey, PurgeBatch, PurgeBatchResult, PurgeCursor, RetentionKind, StoreError,
};

/// Intake waits for no batch longer than about this.
const MAX_BATCH_DURATION: Duration = Duration::from_millis(15);

/// Removes a batch. Inside a transaction.
pub(in crate::storage::sqlite) fn purge_batch(
    conn: &Connection,
    key: &IdentityKey,
    purge: &PurgeBatch,
) -> Result<PurgeBatchResult, StoreError> {
    let whose = ResolvedCompanyScope::resolve(conn, &purge.company_scope)?;
    match purge.kind {
        RetentionKind::Events => purge_events(conn, key, purge, &whose),
        RetentionKind::Deliveries => {
            purge_by_delivery(conn, purge, |seq, handler| purge_delivery(conn, purge, &whose, handler, seq))
        }
        RetentionKind::Attempts => {
            purge_by_delivery(conn, purge, |seq, handler| purge_attempts(conn, purge, &whose, handler, seq))
        }
        RetentionKind::Calls => purge_calls(conn, purge, &whose),
        RetentionKind::Rejected => purge_rejected(conn, purge, &whose),
    }
}

/// The companies of a rule, by number.
struct ResolvedCompanyScope {
    company_ids: HashSet<i64>,
    is_exclusion: bool,
}

impl ResolvedCompanyScope {
    fn resolve(conn: &Connection, companies: &CompanyScope) -> Result<Self, StoreError> {
        let (slugs, all_but) = match companies {
            CompanyScope::Only(slugs) => (slugs, false),
            CompanyScope::AllExcept(slugs) => (slugs, true),
        };
        let mut id = conn.prepare_cached("SELECT id FROM companies WHERE slug = ?1")?;
        let mut named = HashSet::new();
        for slug in slugs {
            let mut rows = id.query([slug])?;
            if let Some(row) = rows.next()? {
                named.insert(row.get(0)?);
            }
        }
        Ok(Self { company_ids: named, is_exclusion: all_but })
    }

    fn includes(&self, company: i64) -> bool {
        self.company_ids.contains(&company) != self.is_exclusion
    }
}

fn purge_events(
    conn: &Connection,
    key: &IdentityKey,
    purge: &PurgeBatch,
    whose: &ResolvedCompanyScope,
) -> Result<PurgeBatchResult, StoreError> {
    let protecting = list_protecting_handlers(conn, purge.protecting_handlers.as_deref())?;
    let looked_at = protecting.iter().map(|(_, through)| *through).min().unwrap_or(i64::MAX);
    let last = seq_before(conn, purge.before_ms)?.min(looked_at);
    let mut rows =
        conn.prepare_cached("SELECT seq, company_id FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3")?;
    let rows = rows.query_map(params![purge.cursor.0, last, purge.limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    let everyone = list_handler_ids(conn)?;
    let mut batch = PurgeProgress::new(rows.len() == purge.limit);
    for (seq, company) in rows {
        if batch.is_out_of_time() {
            break;
        }
        if whose.includes(company) && !has_unfinished_delivery(conn, &protecting, seq)? {
            for handler in &everyone {
                batch.purged.cascaded += delete_delivery(conn, *handler, seq)?;
            }
            let size_bytes = delete_event(conn, key, seq, BodyDisposal::Free, purge.now_ms)?;
            batch.purged.cascaded.body_bytes += size_bytes.unwrap_or(0);
            batch.purged.removed += 1;
        }
        batch.cursor = PurgeCursor(seq, 0, String::new());
    }
    Ok(batch.into_purged())
}

/// Handlers whose unfinished work keeps its events, and how far each has looked at the journal.
fn list_protecting_handlers(conn: &Connection, names: Option<&[String]>) -> Result<Vec<(HandlerId, i64)>, StoreError> {
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

fn has_unfinished_delivery(conn: &Connection, handlers: &[(HandlerId, i64)], seq: i64) -> Result<bool, StoreError> {
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
fn update_purged_through(conn: &Connection, handler: HandlerId, seq: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE handlers SET purged_through = max(purged_through, ?2) WHERE id = ?1")?
        .execute([handler, seq])?;
    Ok(())
}

/// Goes over the deliveries of old events, handler by handler: no index by time is needed for that.
fn purge_by_delivery(
    conn: &Connection,
    purge: &PurgeBatch,
    remove: impl Fn(i64, HandlerId) -> Result<PurgeBatchResult, StoreError>,
) -> Result<PurgeBatchResult, StoreError> {
    let last = seq_before(conn, purge.before_ms)?;
    let mut rows = conn.prepare_cached(
        "SELECT handler_id, event_seq FROM deliveries
         WHERE (handler_id, event_seq) > (?1, ?2) AND event_seq <= ?3 ORDER BY handler_id, event_seq LIMIT ?4",
    )?;
    let rows = rows
        .query_map(params![purge.cursor.0, purge.cursor.1, last, purge.limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(HandlerId, i64)> = rows.collect::<Result<_, _>>()?;
    let mut batch = PurgeProgress::new(rows.len() == purge.limit);
    for (handler, seq) in rows {
        if batch.is_out_of_time() {
            break;
        }
        let one = remove(seq, handler)?;
        batch.purged.removed += one.removed;
        batch.purged.cascaded += one.cascaded;
        batch.cursor = PurgeCursor(handler, seq, String::new());
    }
    Ok(batch.into_purged())
}

fn purge_delivery(
    conn: &Connection,
    purge: &PurgeBatch,
    whose: &ResolvedCompanyScope,
    handler: HandlerId,
    seq: i64,
) -> Result<PurgeBatchResult, StoreError> {
    let mut old = conn.prepare_cached(
        "SELECT company_id FROM deliveries
         WHERE handler_id = ?1 AND event_seq = ?2 AND state >= 3 AND updated_ms < ?3",
    )?;
    let mut rows = old.query([handler, seq, purge.before_ms])?;
    let Some(company) = rows.next()?.map(|row| row.get(0)).transpose()? else {
        return Ok(PurgeBatchResult::default());
    };
    if !whose.includes(company) {
        return Ok(PurgeBatchResult::default());
    }
    let gone = delete_delivery(conn, handler, seq)?;
    update_purged_through(conn, handler, seq)?;
    Ok(PurgeBatchResult { removed: gone.deliveries, cascaded: gone, next_cursor: None })
}

fn purge_attempts(
    conn: &Connection,
    purge: &PurgeBatch,
    whose: &ResolvedCompanyScope,
    handler: HandlerId,
    seq: i64,
) -> Result<PurgeBatchResult, StoreError> {
    // Those of an unfinished delivery say why it is not finished.
    let mut delivery = conn
        .prepare_cached("SELECT company_id FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state >= 3")?;
    let mut rows = delivery.query([handler, seq])?;
    let company = rows.next()?.map(|row| row.get(0)).transpose()?;
    if !company.is_some_and(|company| whose.includes(company)) {
        return Ok(PurgeBatchResult::default());
    }
    let mut newer = conn.prepare_cached(
        "SELECT 1 FROM attempts WHERE handler_id = ?1 AND event_seq = ?2 AND started_at_ms >= ?3 LIMIT 1",
    )?;
    if newer.exists([handler, seq, purge.before_ms])? {
        return Ok(PurgeBatchResult::default());
    }
    Ok(PurgeBatchResult { removed: delete_attempts(conn, handler, seq)?, ..PurgeBatchResult::default() })
}

/// Calls and chats, whose rows have tables of their own.
fn purge_calls(
    conn: &Connection,
    purge: &PurgeBatch,
    whose: &ResolvedCompanyScope,
) -> Result<PurgeBatchResult, StoreError> {
    let PurgeCursor(at_ms, company, call_id) = &purge.cursor;
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
    let mut batch = PurgeProgress::new(rows.len() == purge.limit);
    for row in rows {
        if batch.is_out_of_time() {
            break;
        }
        if whose.includes(row.1) {
            batch.purged.removed += delete_call(conn, row.1, &row.2)?;
        }
        batch.cursor = row;
    }
    Ok(batch.into_purged())
}

/// There are never many.
fn purge_rejected(
    conn: &Connection,
    purge: &PurgeBatch,
    whose: &ResolvedCompanyScope,
) -> Result<PurgeBatchResult, StoreError> {
    let mut rows = conn.prepare_cached(
        "SELECT r.id, coalesce(c.id, 0) FROM rejected r LEFT JOIN companies c ON c.slug = coalesce(r.company, 'default')
         WHERE r.received_at_ms < ?1",
    )?;
    let rows = rows.query_map([purge.before_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>()?;
    let mut remove = conn.prepare_cached("DELETE FROM rejected WHERE id = ?1")?;
    let mut purged = PurgeBatchResult::default();
    for (id, company) in rows {
        if whose.includes(company) {
            purged.removed += remove.execute([id])? as u64;
        }
    }
    Ok(purged)
}

/// A batch under way.
struct PurgeProgress {
    started_at: Instant,
    purged: PurgeBatchResult,
    /// The last row looked at.
    cursor: PurgeCursor,
    /// Whether there is more than was read.
    has_more: bool,
}

impl PurgeProgress {
    fn new(more: bool) -> Self {
        Self {
            started_at: Instant::now(),
            purged: PurgeBatchResult::default(),
            cursor: PurgeCursor::default(),
            has_more: more,
        }
    }

    /// Whether it has taken long enough; at least one row is looked at.
    fn is_out_of_time(&mut self) -> bool {
        let over = self.cursor != PurgeCursor::default() && self.started_at.elapsed() > MAX_BATCH_DURATION;
        self.has_more |= over;
        over
    }

    fn into_purged(self) -> PurgeBatchResult {
        PurgeBatchResult { next_cursor: self.has_more.then_some(self.cursor), ..self.purged }
    }
}
