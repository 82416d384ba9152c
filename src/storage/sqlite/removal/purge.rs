//! Deletes data that is older than its limit, one batch per call.
//!
//! In batches, because the store has a single writer: a `DELETE` of a month of events would keep every webhook
//! waiting for seconds, and one transaction of that size would grow the write-ahead log without limit. A batch is
//! bounded by rows and by time. Its result contains the cursor of the next batch, so rows that have to stay are read
//! once per pass, not per batch.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{BodyDisposal, delete_attempts, delete_delivery, delete_event, list_handler_ids};
use crate::base::id::CompanyId;
use crate::calls::CallKind;
use crate::storage::sqlite::calls::{self, CallPartition, PendingTotals};
use crate::storage::sqlite::events::seq_before;
use crate::storage::sqlite::latency_totals::{PendingCounts, TotalsTable};
use crate::storage::{
    CompanyScope, HandlerId, IdentityKey, PurgeBatch, PurgeBatchResult, PurgeCursor, RetentionKind, Seq, StoreError,
};

/// Time after which a batch ends early: about the longest that a webhook request waits for it. Rows differ too much
/// for a row limit alone, because an event may have many deliveries and attempts.
const MAX_BATCH_DURATION: Duration = Duration::from_millis(15);

/// Deletes one batch. Must run inside a transaction.
pub(in crate::storage::sqlite) fn purge_batch(
    conn: &Connection,
    key: &IdentityKey,
    purge: &PurgeBatch,
) -> Result<PurgeBatchResult, StoreError> {
    let scope = ResolvedCompanyScope::resolve(conn, &purge.company_scope)?;
    match purge.kind {
        // Events take their deliveries and attempts along, so the rules for those find only what is left.
        RetentionKind::Events => purge_events(conn, key, purge, &scope),
        RetentionKind::Deliveries => purge_by_delivery(conn, purge, |counts, seq, handler| {
            purge_delivery(conn, counts, purge, &scope, handler, seq)
        }),
        RetentionKind::Attempts => purge_by_delivery(conn, purge, |counts, seq, handler| {
            purge_attempts(conn, counts, purge, &scope, handler, seq)
        }),
        RetentionKind::Calls => purge_calls(conn, purge, &scope),
        RetentionKind::Rejected => purge_rejected(conn, purge, &scope),
    }
}

/// A [`CompanyScope`] with company ids instead of slugs.
struct ResolvedCompanyScope {
    company_ids: HashSet<CompanyId>,
    is_exclusion: bool,
}

impl ResolvedCompanyScope {
    fn resolve(conn: &Connection, companies: &CompanyScope) -> Result<Self, StoreError> {
        let (slugs, is_exclusion) = match companies {
            CompanyScope::Only(slugs) => (slugs, false),
            CompanyScope::AllExcept(slugs) => (slugs, true),
        };
        let mut id = conn.prepare_cached("SELECT id FROM companies WHERE slug = ?1")?;
        let mut company_ids = HashSet::new();
        for slug in slugs {
            // A company without events has no row yet, and no data to delete either.
            let mut rows = id.query([slug])?;
            if let Some(row) = rows.next()? {
                company_ids.insert(row.get(0)?);
            }
        }
        Ok(Self { company_ids, is_exclusion })
    }

    fn includes(&self, company: CompanyId) -> bool {
        self.company_ids.contains(&company) != self.is_exclusion
    }
}

fn purge_events(
    conn: &Connection,
    key: &IdentityKey,
    purge: &PurgeBatch,
    scope: &ResolvedCompanyScope,
) -> Result<PurgeBatchResult, StoreError> {
    let protecting = list_protecting_handlers(conn, purge.protecting_handlers.as_deref())?;
    // An event that a handler has not planned yet has no delivery that could protect it, so the slowest handler's
    // position is the limit.
    let planned_by_all = protecting.iter().map(|(_, through)| *through).min().unwrap_or(i64::MAX);
    let last = seq_before(conn, purge.before_ms)?.min(planned_by_all);
    let mut rows =
        conn.prepare_cached("SELECT seq, company_id FROM events WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3")?;
    let rows = rows.query_map(params![purge.cursor.0[0], last, purge.limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(Seq, CompanyId)> = rows.collect::<Result<_, _>>()?;
    // Deliveries of handlers that no longer protect anything go with the event, too.
    let all_handlers = list_handler_ids(conn)?;
    let mut batch = PurgeProgress::new(rows.len() == purge.limit);
    let mut counts = PendingCounts::default();
    for (seq, company) in rows {
        if batch.is_out_of_time() {
            break;
        }
        if scope.includes(company) && !has_unfinished_delivery(conn, &protecting, seq)? {
            for handler in &all_handlers {
                batch.purged.cascaded += delete_delivery(conn, &mut counts, *handler, seq)?;
            }
            let size_bytes = delete_event(conn, key, seq, BodyDisposal::Free, purge.now_ms)?;
            batch.purged.cascaded.body_bytes += size_bytes.unwrap_or(0);
            batch.purged.removed += 1;
        }
        // Also for an event that stays: the next batch must not read it again.
        batch.cursor = PurgeCursor([seq.0, 0, 0, 0, 0]);
    }
    counts.write(conn, TotalsTable::Attempts)?;
    Ok(batch.into_purged())
}

/// Handlers whose unfinished deliveries protect their events, with the position up to which each has planned the
/// journal.
fn list_protecting_handlers(conn: &Connection, names: Option<&[String]>) -> Result<Vec<(HandlerId, i64)>, StoreError> {
    let mut handlers = conn.prepare_cached("SELECT id, through, name FROM handlers")?;
    let handlers = handlers.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)))?;
    let mut protecting = Vec::new();
    for row in handlers {
        let (id, through, name) = row?;
        if names.is_none_or(|names| names.contains(&name)) {
            protecting.push((id, through));
        }
    }
    Ok(protecting)
}

fn has_unfinished_delivery(conn: &Connection, handlers: &[(HandlerId, i64)], seq: Seq) -> Result<bool, StoreError> {
    let mut unfinished =
        conn.prepare_cached("SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state < 3")?;
    for (handler, _) in handlers {
        if unfinished.exists(params![*handler, seq])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Records that deliveries of events up to `seq` may have been deleted. For these events, the lack of a delivery no
/// longer means that the filter left the event out.
fn update_purged_through(conn: &Connection, handler: HandlerId, seq: Seq) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE handlers SET purged_through = max(purged_through, ?2) WHERE id = ?1")?
        .execute(params![handler, seq])?;
    Ok(())
}

/// Visits the deliveries of old events along the primary key, handler by handler. A delivery is never older than its
/// event, so the events' age is a safe limit, and no index by time is needed, which every settlement would have to
/// maintain.
fn purge_by_delivery(
    conn: &Connection,
    purge: &PurgeBatch,
    remove: impl Fn(&mut PendingCounts, Seq, HandlerId) -> Result<PurgeBatchResult, StoreError>,
) -> Result<PurgeBatchResult, StoreError> {
    let last = seq_before(conn, purge.before_ms)?;
    let mut rows = conn.prepare_cached(
        "SELECT handler_id, event_seq FROM deliveries
         WHERE (handler_id, event_seq) > (?1, ?2) AND event_seq <= ?3 ORDER BY handler_id, event_seq LIMIT ?4",
    )?;
    let rows = rows.query_map(params![purge.cursor.0[0], purge.cursor.0[1], last, purge.limit], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let rows: Vec<(HandlerId, Seq)> = rows.collect::<Result<_, _>>()?;
    let mut batch = PurgeProgress::new(rows.len() == purge.limit);
    let mut counts = PendingCounts::default();
    for (handler, seq) in rows {
        if batch.is_out_of_time() {
            break;
        }
        let result = remove(&mut counts, seq, handler)?;
        batch.purged.removed += result.removed;
        batch.purged.cascaded += result.cascaded;
        batch.cursor = PurgeCursor([handler.0, seq.0, 0, 0, 0]);
    }
    counts.write(conn, TotalsTable::Attempts)?;
    Ok(batch.into_purged())
}

fn purge_delivery(
    conn: &Connection,
    counts: &mut PendingCounts,
    purge: &PurgeBatch,
    scope: &ResolvedCompanyScope,
    handler: HandlerId,
    seq: Seq,
) -> Result<PurgeBatchResult, StoreError> {
    let mut old = conn.prepare_cached(
        "SELECT company_id FROM deliveries
         WHERE handler_id = ?1 AND event_seq = ?2 AND state >= 3 AND updated_ms < ?3",
    )?;
    let mut rows = old.query(params![handler, seq, purge.before_ms])?;
    let Some(company) = rows.next()?.map(|row| row.get(0)).transpose()? else {
        return Ok(PurgeBatchResult::default());
    };
    if !scope.includes(company) {
        return Ok(PurgeBatchResult::default());
    }
    let cascaded = delete_delivery(conn, counts, handler, seq)?;
    update_purged_through(conn, handler, seq)?;
    Ok(PurgeBatchResult { removed: cascaded.deliveries, cascaded, next_cursor: None })
}

fn purge_attempts(
    conn: &Connection,
    counts: &mut PendingCounts,
    purge: &PurgeBatch,
    scope: &ResolvedCompanyScope,
    handler: HandlerId,
    seq: Seq,
) -> Result<PurgeBatchResult, StoreError> {
    // The attempts of an unfinished delivery stay: they show why it is not finished.
    let mut delivery = conn
        .prepare_cached("SELECT company_id FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state >= 3")?;
    let mut rows = delivery.query(params![handler, seq])?;
    let company = rows.next()?.map(|row| row.get(0)).transpose()?;
    if !company.is_some_and(|company| scope.includes(company)) {
        return Ok(PurgeBatchResult::default());
    }
    // All or none of a delivery's attempts: a history with a gap would be misleading.
    let mut newer = conn.prepare_cached(
        "SELECT 1 FROM attempts WHERE handler_id = ?1 AND event_seq = ?2 AND started_at_ms >= ?3
         UNION ALL SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND started_at_ms >= ?3 LIMIT 1",
    )?;
    if newer.exists(params![handler, seq, purge.before_ms])? {
        return Ok(PurgeBatchResult::default());
    }
    Ok(PurgeBatchResult { removed: delete_attempts(conn, counts, handler, seq)?, ..PurgeBatchResult::default() })
}

/// Deletes rows of calls and chats. They have their own limit, counted from their last event, because they are
/// summaries that are often kept for longer than the events.
fn purge_calls(
    conn: &Connection,
    purge: &PurgeBatch,
    scope: &ResolvedCompanyScope,
) -> Result<PurgeBatchResult, StoreError> {
    let mut totals = PendingTotals::default();
    let mut batch = PurgeProgress::new(false);
    let mut left = purge.limit;
    for (kind, partition) in call_partitions(conn)? {
        let CallPartition { company_id, test } = partition;
        // Tables by number, so that the cursor of a batch sorts as the rows are visited.
        let place = [kind as i64 + 1, company_id.get(), i64::from(test)];
        let [.., at_ms, id] = purge.cursor.0;
        let after = match place.as_slice().cmp(&purge.cursor.0[..3]) {
            Ordering::Less => continue,
            Ordering::Equal => (at_ms, id),
            Ordering::Greater => (i64::MIN, 0),
        };
        if !scope.includes(company_id) {
            continue;
        }
        let rows = calls::list_old_rows(conn, kind, partition, purge.before_ms, after, left)?;
        left -= rows.len();
        for (at_ms, id) in rows {
            if batch.is_out_of_time() {
                break;
            }
            batch.purged.removed += calls::delete_row(conn, &mut totals, kind, id)?;
            batch.cursor = PurgeCursor([place[0], place[1], place[2], at_ms, id]);
        }
        batch.has_more |= left == 0;
        if batch.has_more {
            break;
        }
    }
    totals.write(conn)?;
    Ok(batch.into_purged())
}

fn call_partitions(conn: &Connection) -> Result<Vec<(CallKind, CallPartition)>, StoreError> {
    let mut all = Vec::new();
    for kind in [CallKind::Call, CallKind::Chat] {
        all.extend(calls::list_partitions(conn, kind)?.into_iter().map(|partition| (kind, partition)));
    }
    Ok(all)
}

/// Deletes rejected requests, all in one batch: the table holds at most 1,000 rows.
fn purge_rejected(
    conn: &Connection,
    purge: &PurgeBatch,
    scope: &ResolvedCompanyScope,
) -> Result<PurgeBatchResult, StoreError> {
    let mut rows = conn.prepare_cached(
        "SELECT r.id, coalesce(c.id, 0) FROM rejected r LEFT JOIN companies c ON c.slug = coalesce(r.company, 'default')
         WHERE r.received_at_ms < ?1",
    )?;
    let rows = rows.query_map([purge.before_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, CompanyId)> = rows.collect::<Result<_, _>>()?;
    let mut remove = conn.prepare_cached("DELETE FROM rejected WHERE id = ?1")?;
    let mut purged = PurgeBatchResult::default();
    for (id, company) in rows {
        if scope.includes(company) {
            purged.removed += remove.execute([id])? as u64;
        }
    }
    Ok(purged)
}

struct PurgeProgress {
    started_at: Instant,
    purged: PurgeBatchResult,
    /// The last row visited, deleted or not.
    cursor: PurgeCursor,
    /// Whether the scan may not have reached the end.
    has_more: bool,
}

impl PurgeProgress {
    fn new(has_more: bool) -> Self {
        Self {
            started_at: Instant::now(),
            purged: PurgeBatchResult::default(),
            cursor: PurgeCursor::default(),
            has_more,
        }
    }

    /// Whether the batch has to end. At least one row is visited first, or a slow store would make no progress at
    /// all.
    fn is_out_of_time(&mut self) -> bool {
        let visited_any = self.cursor != PurgeCursor::default();
        let is_over = visited_any && self.started_at.elapsed() > MAX_BATCH_DURATION;
        self.has_more |= is_over;
        is_over
    }

    fn into_purged(self) -> PurgeBatchResult {
        PurgeBatchResult { next_cursor: self.has_more.then_some(self.cursor), ..self.purged }
    }
}
