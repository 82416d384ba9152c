//! Claims deliveries for an attempt. The index `deliveries_due` holds only deliveries with a `due_ms`, so a claim
//! costs the same however large the backlog is.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::base::id::CompanyId;
use crate::storage::sqlite::events::{BODY_COLUMNS, FROM_EVENTS, SELECT_SUMMARY, read_body, read_damaged_summary};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::{
    BodyError, ClaimRequest, ClaimedDelivery, DeliveryState, EventSummary, HandlerId, LeaseToken, Seq, StoreError,
    StoredEvent,
};

/// Deliveries examined per company for one that was never attempted, so that the events of one call do not hide others.
const MAX_UNTRIED_EXAMINED: usize = 256;

/// Due deliveries of one company, earliest first, without those whose call sequence has another delivery running.
///
/// The inner query must stay on the partial index, which is why `state < 3` stands next to `state = 1`. A delivery
/// that is running itself is due again when its lease has ended, so it must not exclude itself (`event_seq <>`).
macro_rules! due_sql {
    ($index:literal, $condition:literal, $call_id:literal) => {
        concat!(
            "SELECT d.event_seq, d.attempts, d.since_ms, d.replay, d.body_unread,
                coalesce((SELECT size_bytes FROM events WHERE seq = d.event_seq), 0),
                d.state = 0 AND d.restarted = 0, d.company_id,
                EXISTS (SELECT 1 FROM deliveries f INDEXED BY deliveries_call_sequence
                   WHERE f.handler_id = ?1 AND f.ordering_key = d.ordering_key AND f.state < 3
                   AND f.event_seq > d.event_seq), ",
            $call_id,
            " FROM deliveries d INDEXED BY ",
            $index,
            " WHERE d.handler_id = ?1 AND d.company_id = ?2 AND d.due_ms <= ?3 AND ",
            $condition,
            " AND NOT EXISTS (SELECT 1 FROM deliveries o INDEXED BY deliveries_call_sequence
                WHERE o.handler_id = ?1 AND o.ordering_key = d.ordering_key
                AND o.state < 3 AND o.state = 1 AND o.event_seq <> d.event_seq)
              ORDER BY d.due_ms, d.event_seq LIMIT ?4"
        )
    };
}

/// The first company after ?2 that has a claimable delivery, with the earliest due time. Asked again and again with
/// the company it returned, this visits each company with one index step; `SELECT DISTINCT` would read every due row.
macro_rules! next_company_sql {
    ($index:literal, $condition:literal) => {
        concat!(
            "SELECT d.company_id, d.due_ms FROM deliveries d INDEXED BY ",
            $index,
            " WHERE d.handler_id = ?1 AND d.company_id > ?2 AND d.due_ms IS NOT NULL AND ",
            $condition,
            " ORDER BY d.company_id, d.due_ms LIMIT 1"
        )
    };
}

/// Which due deliveries a claim may take.
#[derive(Clone, Copy)]
pub(super) enum Candidates {
    /// All. `state IN (0, 1, 2)` leaves out a row whose state this version does not know, here and below.
    Due,
    /// Those never attempted, each of another call.
    Untried,
}

impl Candidates {
    pub(super) fn due_sql(self) -> &'static str {
        match self {
            Self::Due => due_sql!("deliveries_due", "d.state IN (0, 1, 2)", "NULL"),
            Self::Untried => due_sql!(
                "deliveries_untried",
                "d.state = 0 AND d.restarted = 0",
                "(SELECT call_id FROM events WHERE seq = d.event_seq)"
            ),
        }
    }

    pub(super) fn next_company_sql(self) -> &'static str {
        match self {
            Self::Due => next_company_sql!("deliveries_due", "d.state IN (0, 1, 2)"),
            Self::Untried => next_company_sql!("deliveries_untried", "d.state = 0 AND d.restarted = 0"),
        }
    }
}

/// A claimed delivery whose event has not been read yet.
#[allow(clippy::struct_excessive_bools, reason = "those of `ClaimedDelivery`")]
pub(in crate::storage::sqlite) struct ClaimedRow {
    pub(in crate::storage::sqlite) seq: Seq,
    attempts: u32,
    since_ms: i64,
    replay: bool,
    body_unread: bool,
    pub(super) size_bytes: u64,
    is_untried: bool,
    pub(super) company_id: CompanyId,
    has_followers: bool,
    /// Read only for [`Candidates::Untried`].
    call_id: Option<String>,
}

impl ClaimedRow {
    /// A delivery that was claimed when it was planned.
    pub(super) fn newly_planned(event: &EventSummary, since_ms: i64, body_unread: bool) -> Self {
        Self {
            seq: event.seq,
            attempts: 0,
            since_ms,
            replay: false,
            body_unread,
            size_bytes: event.size_bytes,
            is_untried: true,
            company_id: event.company_id,
            has_followers: false,
            call_id: None,
        }
    }

    /// The claimed delivery with its event.
    pub(in crate::storage::sqlite) fn into_claimed(self, event: StoredEvent, claim_number: i64) -> ClaimedDelivery {
        ClaimedDelivery {
            event,
            lease: LeaseToken { seq: self.seq, claim: claim_number },
            previous_attempts: self.attempts,
            queued_at_ms: self.since_ms,
            is_replay: self.replay,
            body_unread: self.body_unread,
            is_untried: self.is_untried,
            has_followers: self.has_followers,
        }
    }
}

/// Claims due deliveries in rounds, with an equal share per company and round, so that the backlog of one company
/// does not keep others waiting. No other claim may have the same `claim_number`.
pub(super) fn claim(
    conn: &Connection,
    handler: HandlerId,
    claim_number: i64,
    request: &ClaimRequest,
) -> Result<Vec<ClaimedRow>, StoreError> {
    if request.prefer_untried {
        let claimed = claim_candidates(conn, handler, claim_number, request, Candidates::Untried)?;
        if !claimed.is_empty() {
            return Ok(claimed);
        }
    }
    claim_candidates(conn, handler, claim_number, request, Candidates::Due)
}

fn claim_candidates(
    conn: &Connection,
    handler: HandlerId,
    claim_number: i64,
    request: &ClaimRequest,
    candidates: Candidates,
) -> Result<Vec<ClaimedRow>, StoreError> {
    let mut companies = list_companies(conn, handler, request.due_before_ms, candidates)?;
    // Start after the company that came last the previous time: with more companies than `limit`, the first ones in
    // id order would otherwise get everything.
    let first = companies.iter().position(|company| *company > request.after_company_id).unwrap_or(0);
    companies.rotate_left(first);
    let mut prefetched = request.prefetched_by_company.clone();
    let mut claimed: Vec<ClaimedRow> = Vec::new();
    let mut claimed_bytes = 0;
    while !companies.is_empty() && claimed.len() < request.limit && claimed_bytes < request.limit_bytes {
        let share = (request.limit - claimed.len()).div_ceil(companies.len());
        let mut companies_with_more = Vec::new();
        for company in companies {
            let company_prefetched = prefetched.entry(company).or_default();
            let company_room = request.limit_per_company.saturating_sub(*company_prefetched);
            let room = share.min(request.limit - claimed.len()).min(company_room);
            let due = match candidates {
                Candidates::Due => list_due(conn, handler, company, request.due_before_ms, room, candidates)?,
                Candidates::Untried => {
                    let due =
                        list_due(conn, handler, company, request.due_before_ms, MAX_UNTRIED_EXAMINED, candidates)?;
                    first_of_other_calls(due, &claimed, room)
                }
            };
            // A full page means that the company may have more due; what others left of their share goes to it next
            // round.
            if room > 0 && due.len() == room {
                companies_with_more.push(company);
            }
            for delivery in due {
                // Compared before adding, so one body larger than the limit is still delivered, alone.
                if claimed_bytes < request.limit_bytes
                    && acquire_lease(conn, handler, delivery.seq, claim_number, request)?
                {
                    claimed_bytes += delivery.size_bytes;
                    *company_prefetched += 1;
                    claimed.push(delivery);
                }
            }
        }
        companies = companies_with_more;
    }
    Ok(claimed)
}

/// The first `room` deliveries, each of a call of which none is claimed.
fn first_of_other_calls(due: Vec<ClaimedRow>, claimed: &[ClaimedRow], room: usize) -> Vec<ClaimedRow> {
    let mut calls: BTreeSet<String> = claimed.iter().filter_map(|delivery| delivery.call_id.clone()).collect();
    due.into_iter()
        .filter(|delivery| delivery.call_id.as_ref().is_none_or(|call_id| calls.insert(call_id.clone())))
        .take(room)
        .collect()
}

/// Companies with a delivery that is due, in the order of their ids.
pub(super) fn list_due_companies(
    conn: &Connection,
    handler: HandlerId,
    due_before_ms: i64,
) -> Result<Vec<CompanyId>, StoreError> {
    list_companies(conn, handler, due_before_ms, Candidates::Due)
}

fn list_companies(
    conn: &Connection,
    handler: HandlerId,
    due_before_ms: i64,
    candidates: Candidates,
) -> Result<Vec<CompanyId>, StoreError> {
    let mut next = conn.prepare_cached(candidates.next_company_sql())?;
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
    candidates: Candidates,
) -> Result<Vec<ClaimedRow>, StoreError> {
    let mut statement = conn.prepare_cached(candidates.due_sql())?;
    let rows = statement.query_map(params![handler, company, due_before_ms, limit], |row| {
        Ok(ClaimedRow {
            seq: row.get(0)?,
            attempts: row.get(1)?,
            since_ms: row.get(2)?,
            replay: row.get(3)?,
            body_unread: row.get(4)?,
            size_bytes: row.get(5)?,
            is_untried: row.get(6)?,
            company_id: row.get(7)?,
            has_followers: row.get(8)?,
            call_id: row.get(9)?,
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
    // The query for candidates made the same check, but one page of it can hold two due deliveries of one call sequence
    // (the head that waits for a retry, and one that may overtake it): the second must lose here.
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
            let event = read_deliverable_event(row, reader)?;
            claimed.push(delivery.into_claimed(event, claim_number));
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
    let mut next = conn.prepare_cached(Candidates::Due.next_company_sql())?;
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
