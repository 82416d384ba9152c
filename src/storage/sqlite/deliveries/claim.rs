//! Deliveries taken for an attempt. Only those with `due_ms` are looked at, so it costs the same however many wait.

use rusqlite::{Connection, OptionalExtension, params};

use crate::storage::sqlite::events::{BODY_COLUMNS, FROM_EVENTS, SELECT_SUMMARY, read_event};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::{ClaimRequest, ClaimedDelivery, DeliveryState, HandlerId, StoreError};

/// What is due of a company, without those whose lane has another one under way already.
pub(super) const DUE_SQL: &str = "SELECT d.event_seq, d.attempts, d.since_ms, d.replay,
       coalesce((SELECT size_bytes FROM events WHERE seq = d.event_seq), 0)
    FROM deliveries d INDEXED BY deliveries_due
    WHERE d.handler_id = ?1 AND d.company_id = ?2 AND d.due_ms <= ?3
    AND NOT EXISTS (SELECT 1 FROM deliveries o INDEXED BY deliveries_call_sequence WHERE o.handler_id = ?1 AND o.ordering_key = d.ordering_key
       AND o.state < 3 AND o.state = 1 AND o.event_seq <> d.event_seq)
    ORDER BY d.due_ms, d.event_seq LIMIT ?4";

/// What was taken, before the event is read.
pub(in crate::storage::sqlite) struct ClaimedRow {
    seq: i64,
    attempts: u32,
    since_ms: i64,
    replay: bool,
    size_bytes: u64,
}

/// Takes what is due, a share for each company in turn.
pub(in crate::storage::sqlite) fn claim(
    conn: &mut Connection,
    handler: HandlerId,
    claim: &ClaimRequest,
) -> Result<Vec<ClaimedRow>, StoreError> {
    let part = conn.savepoint()?;
    let mut companies = list_due_companies(&part, handler, claim.due_before_ms)?;
    let first = companies.iter().position(|company| *company > claim.after_company_id).unwrap_or(0);
    companies.rotate_left(first);
    let mut waiting = claim.prefetched_by_company.clone();
    let (mut taken, mut bytes) = (Vec::new(), 0);
    // Round after round, until there is no room or nothing left.
    while !companies.is_empty() && taken.len() < claim.limit && bytes < claim.limit_bytes {
        let share = (claim.limit - taken.len()).div_ceil(companies.len());
        let mut left = Vec::new();
        for company in companies {
            let waits = waiting.entry(company).or_default();
            let room = share.min(claim.limit - taken.len()).min(claim.limit_per_company.saturating_sub(*waits));
            let found = list_due(&part, handler, company, claim, room)?;
            if room > 0 && found.len() == room {
                left.push(company);
            }
            for delivery in found {
                if bytes < claim.limit_bytes && acquire_lease(&part, handler, delivery.seq, claim)? {
                    bytes += delivery.size_bytes;
                    *waits += 1;
                    taken.push(delivery);
                }
            }
        }
        companies = left;
    }
    part.commit()?;
    Ok(taken)
}

/// The companies of which something is due, in order; each found by one step in the index.
fn list_due_companies(conn: &Connection, handler: HandlerId, due_before_ms: i64) -> Result<Vec<i64>, StoreError> {
    let mut next = conn.prepare_cached(
        "SELECT company_id, due_ms FROM deliveries INDEXED BY deliveries_due
         WHERE handler_id = ?1 AND company_id > ?2 AND due_ms IS NOT NULL ORDER BY company_id, due_ms LIMIT 1",
    )?;
    let (mut companies, mut after) = (Vec::new(), i64::MIN);
    while let Some((company, due_ms)) =
        next.query_row([handler, after], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?
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
    company: i64,
    claim: &ClaimRequest,
    limit: usize,
) -> Result<Vec<ClaimedRow>, StoreError> {
    let mut statement = conn.prepare_cached(DUE_SQL)?;
    let rows = statement.query_map(params![handler, company, claim.due_before_ms, limit], |row| {
        Ok(ClaimedRow {
            seq: row.get(0)?,
            attempts: row.get(1)?,
            since_ms: row.get(2)?,
            replay: row.get(3)?,
            size_bytes: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Two of one lane may have been found together: only the first is taken.
fn acquire_lease(conn: &Connection, handler: HandlerId, seq: i64, claim: &ClaimRequest) -> Result<bool, StoreError> {
    let mut statement = conn.prepare_cached(
        "UPDATE deliveries AS d SET state = ?3, due_ms = ?4, updated_ms = ?5 WHERE handler_id = ?1 AND event_seq = ?2
         AND NOT EXISTS (SELECT 1 FROM deliveries o INDEXED BY deliveries_call_sequence WHERE o.handler_id = ?1 AND o.ordering_key = d.ordering_key
            AND o.state < 3 AND o.state = 1 AND o.event_seq <> ?2)",
    )?;
    let running = DeliveryState::Running as i64;
    Ok(statement.execute(params![handler, seq, running, claim.lease_until_ms, claim.now_ms])? == 1)
}

/// The events of what was taken, in that order; one that was erased since is left out.
pub(in crate::storage::sqlite) fn load_claimed_events(
    reader: &ReaderContext,
    taken: Vec<ClaimedRow>,
) -> Result<Vec<ClaimedDelivery>, StoreError> {
    let sql = format!("{SELECT_SUMMARY}{BODY_COLUMNS}{FROM_EVENTS} WHERE e.seq = ?1");
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut claimed = Vec::new();
    for delivery in taken {
        let mut rows = statement.query([delivery.seq])?;
        if let Some(row) = rows.next()? {
            let event = read_event(row, &reader.bodies)?;
            let ClaimedRow { attempts, since_ms, replay, .. } = delivery;
            claimed.push(ClaimedDelivery {
                event,
                previous_attempts: attempts,
                queued_at_ms: since_ms,
                is_replay: replay,
            });
        }
    }
    Ok(claimed)
}

/// When the next one of this handler may be taken.
pub(in crate::storage::sqlite) fn next_due_ms(
    conn: &Connection,
    handler: HandlerId,
) -> Result<Option<i64>, StoreError> {
    let mut next = conn.prepare_cached(
        "SELECT company_id, due_ms FROM deliveries INDEXED BY deliveries_due
         WHERE handler_id = ?1 AND company_id > ?2 AND due_ms IS NOT NULL ORDER BY company_id, due_ms LIMIT 1",
    )?;
    let (mut soonest, mut after): (Option<i64>, i64) = (None, i64::MIN);
    while let Some((company, due_ms)) =
        next.query_row([handler, after], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?
    {
        soonest = Some(soonest.map_or(due_ms, |soonest| soonest.min(due_ms)));
        after = company;
    }
    Ok(soonest)
}

/// Gives back what was under way when the process before this one ended; says how many there were.
pub(in crate::storage::sqlite) fn release_all_leases(conn: &Connection) -> rusqlite::Result<usize> {
    conn.execute(
        "UPDATE deliveries INDEXED BY deliveries_call_sequence SET state = CASE WHEN failed_at_ms IS NULL THEN 0 ELSE 2 END, due_ms = 0
         WHERE state < 3 AND state = 1",
        [],
    )
}
