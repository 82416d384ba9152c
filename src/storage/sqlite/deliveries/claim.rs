//! Claims deliveries for an attempt. The index `deliveries_due` holds only deliveries with a `due_ms`, so a claim
//! costs the same however large the backlog is.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::base::id::CompanyId;
use crate::storage::sqlite::events::{BODY_COLUMNS, FROM_EVENTS, SELECT_SUMMARY, read_body, read_damaged_summary};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::{
    BodyError, ClaimRequest, ClaimedDelivery, DeliveryState, HandlerId, LeaseToken, Seq, StoreError, StoredEvent,
};

/// Due deliveries of one company, earliest first, without those whose call sequence has another delivery running.
///
/// The inner query must stay on the partial index, which is why `state < 3` stands next to `state = 1`. A delivery
/// that is running itself is due again when its lease has ended, so it must not exclude itself (`event_seq <>`).
/// `state IN (0, 1, 2)` leaves out a row whose state this version does not know, here and below.
pub(super) const DUE_SQL: &str = "SELECT d.event_seq, d.attempts, d.since_ms, d.replay, d.body_unread,
       coalesce((SELECT size_bytes FROM events WHERE seq = d.event_seq), 0)
    FROM deliveries d INDEXED BY deliveries_due
    WHERE d.handler_id = ?1 AND d.company_id = ?2 AND d.due_ms <= ?3 AND d.state IN (0, 1, 2)
    AND NOT EXISTS (SELECT 1 FROM deliveries o INDEXED BY deliveries_call_sequence
       WHERE o.handler_id = ?1 AND o.ordering_key = d.ordering_key
       AND o.state < 3 AND o.state = 1 AND o.event_seq <> d.event_seq)
    ORDER BY d.due_ms, d.event_seq LIMIT ?4";

/// The first company after ?2 that has a claimable delivery, with the earliest due time. Asked again and again with
/// the company it returned, this visits each company with one index step; `SELECT DISTINCT` would read every due row.
pub(super) const NEXT_DUE_COMPANY_SQL: &str = "SELECT company_id, due_ms FROM deliveries INDEXED BY deliveries_due
    WHERE handler_id = ?1 AND company_id > ?2 AND due_ms IS NOT NULL AND state IN (0, 1, 2)
    ORDER BY company_id, due_ms LIMIT 1";

/// A claimed delivery whose event has not been read yet.
pub(in crate::storage::sqlite) struct ClaimedRow {
    seq: Seq,
    attempts: u32,
    since_ms: i64,
    replay: bool,
    body_unread: bool,
    size_bytes: u64,
}

/// Claims due deliveries in rounds, with an equal share per company and round, so that the backlog of one company
/// does not keep others waiting. No other claim may have the same `claim_number`.
pub(in crate::storage::sqlite) fn claim(
    conn: &mut Connection,
    handler: HandlerId,
    claim_number: i64,
    request: &ClaimRequest,
) -> Result<Vec<ClaimedRow>, StoreError> {
    let savepoint = conn.savepoint()?;
    let mut companies = list_due_companies(&savepoint, handler, request.due_before_ms)?;
    // Start after the company that came last the previous time: with more companies than `limit`, the first ones in
    // id order would otherwise get everything.
    let first = companies.iter().position(|company| *company > request.after_company_id).unwrap_or(0);
    companies.rotate_left(first);
    let mut prefetched = request.prefetched_by_company.clone();
    let mut claimed = Vec::new();
    let mut claimed_bytes = 0;
    while !companies.is_empty() && claimed.len() < request.limit && claimed_bytes < request.limit_bytes {
        let share = (request.limit - claimed.len()).div_ceil(companies.len());
        let mut companies_with_more = Vec::new();
        for company in companies {
            let company_prefetched = prefetched.entry(company).or_default();
            let company_room = request.limit_per_company.saturating_sub(*company_prefetched);
            let room = share.min(request.limit - claimed.len()).min(company_room);
            let due = list_due(&savepoint, handler, company, request.due_before_ms, room)?;
            // A full page means that the company may have more due; what others left of their share goes to it next
            // round.
            if room > 0 && due.len() == room {
                companies_with_more.push(company);
            }
            for delivery in due {
                // Compared before adding, so one body larger than the limit is still delivered, alone.
                if claimed_bytes < request.limit_bytes
                    && acquire_lease(&savepoint, handler, delivery.seq, claim_number, request)?
                {
                    claimed_bytes += delivery.size_bytes;
                    *company_prefetched += 1;
                    claimed.push(delivery);
                }
            }
        }
        companies = companies_with_more;
    }
    savepoint.commit()?;
    Ok(claimed)
}

/// Companies with a delivery that is due, in the order of their ids.
pub(super) fn list_due_companies(
    conn: &Connection,
    handler: HandlerId,
    due_before_ms: i64,
) -> Result<Vec<CompanyId>, StoreError> {
    let mut next = conn.prepare_cached(NEXT_DUE_COMPANY_SQL)?;
    let mut companies = Vec::new();
    let mut after = CompanyId::new(i64::MIN);
    while let Some((company, due_ms)) = next
        .query_row(params![handler, after], |row| Ok((row.get::<_, CompanyId>(0)?, row.get::<_, i64>(1)?)))
        .optional()?
    {
        if due_ms <= due_before_ms {
            companies.push(company);
        }
        after = company;
    }
    Ok(companies)
}

fn list_due(
    conn: &Connection,
    handler: HandlerId,
    company: CompanyId,
    due_before_ms: i64,
    limit: usize,
) -> Result<Vec<ClaimedRow>, StoreError> {
    let mut statement = conn.prepare_cached(DUE_SQL)?;
    let rows = statement.query_map(params![handler, company, due_before_ms, limit], |row| {
        Ok(ClaimedRow {
            seq: row.get(0)?,
            attempts: row.get(1)?,
            since_ms: row.get(2)?,
            replay: row.get(3)?,
            body_unread: row.get(4)?,
            size_bytes: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Marks a delivery as running until the lease ends. `false` when its call sequence has another delivery running.
fn acquire_lease(
    conn: &Connection,
    handler: HandlerId,
    seq: Seq,
    claim_number: i64,
    request: &ClaimRequest,
) -> Result<bool, StoreError> {
    // `DUE_SQL` made the same check, but one page of it can hold two due deliveries of one call sequence (the head
    // that waits for a retry, and one that may overtake it): the second must lose here.
    let mut statement = conn.prepare_cached(
        "UPDATE deliveries AS d SET state = ?3, due_ms = ?4, updated_ms = ?5, claim = ?6
         WHERE handler_id = ?1 AND event_seq = ?2 AND state IN (0, 1, 2)
         AND NOT EXISTS (SELECT 1 FROM deliveries o INDEXED BY deliveries_call_sequence
            WHERE o.handler_id = ?1 AND o.ordering_key = d.ordering_key
            AND o.state < 3 AND o.state = 1 AND o.event_seq <> ?2)",
    )?;
    let running = DeliveryState::Running as i64;
    let changed =
        statement.execute(params![handler, seq, running, request.lease_until_ms, request.now_ms, claim_number])?;
    Ok(changed == 1)
}

/// Reads the events of claimed deliveries, in the same order. Runs on a reader, after the claim was committed: bodies
/// can be large, and the writer must not wait for them. An event that was erased in between is left out.
pub(in crate::storage::sqlite) fn load_claimed_events(
    reader: &ReaderContext,
    claim_number: i64,
    claimed_rows: Vec<ClaimedRow>,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    let sql = format!("{SELECT_SUMMARY}{BODY_COLUMNS}{FROM_EVENTS} WHERE e.seq = ?1");
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut claimed = Vec::new();
    for delivery in claimed_rows {
        let mut rows = statement.query([delivery.seq])?;
        if let Some(row) = rows.next()? {
            claimed.push(ClaimedDelivery {
                event: read_deliverable_event(row, reader)?,
                lease: LeaseToken { seq: delivery.seq, claim: claim_number },
                previous_attempts: delivery.attempts,
                queued_at_ms: delivery.since_ms,
                is_replay: delivery.replay,
                body_unread: delivery.body_unread,
            });
        }
    }
    Ok(claimed)
}

/// Reads an event for a delivery. One with an unknown value is like one whose body cannot be read: its delivery fails with
/// the reason, and the others of the claim, whose leases are committed, are attempted.
pub(super) fn read_deliverable_event(row: &Row, reader: &ReaderContext) -> rusqlite::Result<StoredEvent> {
    let (summary, damage) = read_damaged_summary(row)?;
    let body = match damage {
        Some(unknown) => Err(BodyError::damaged(unknown.to_string())),
        None => read_body(row, reader)?,
    };
    Ok(StoredEvent { summary, body })
}

/// The earliest due time of any delivery of this handler, over all companies; `None` when nothing can be claimed.
pub(in crate::storage::sqlite) fn next_due_ms(
    conn: &Connection,
    handler: HandlerId,
) -> Result<Option<i64>, StoreError> {
    let mut next = conn.prepare_cached(NEXT_DUE_COMPANY_SQL)?;
    let mut earliest: Option<i64> = None;
    let mut after = CompanyId::new(i64::MIN);
    while let Some((company, due_ms)) = next
        .query_row(params![handler, after], |row| Ok((row.get::<_, CompanyId>(0)?, row.get::<_, i64>(1)?)))
        .optional()?
    {
        earliest = Some(earliest.map_or(due_ms, |earliest| earliest.min(due_ms)));
        after = company;
    }
    Ok(earliest)
}
