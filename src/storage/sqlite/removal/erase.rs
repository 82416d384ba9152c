//! Erasure: deletes one person's data, so that it also does not come back when the same webhook is sent or imported
//! again.
//!
//! A resent body is recognized by its identity, a hash under the store's secret key, which stays in the table
//! `erased` and in the identity index. Without that, a retry of Retell would store the event a second time.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::data_subject::row_matches;
use super::{BodyDisposal, appointments, delete_attempts, delete_event, list_handler_ids};
use crate::base::id::CompanyId;
use crate::storage::sqlite::calls::{PendingTotals, delete_call};
use crate::storage::sqlite::deliveries::advance_call_sequence;
use crate::storage::sqlite::latency_totals::{PendingCounts, TotalsTable};
use crate::storage::{
    CallKey, DataSubject, DeliveryState, ErasureCounts, EventsByHandler, HandlerId, IdentityKey, Seq, SkipReason,
    StoreError,
};

/// The handlers that received any of these events. An attempt that failed or is running counts: the data may have
/// arrived.
pub(in crate::storage::sqlite) fn list_recipients(
    conn: &Connection,
    seqs: &BTreeSet<Seq>,
) -> Result<EventsByHandler, StoreError> {
    let mut handlers = conn.prepare_cached("SELECT id, name FROM handlers")?;
    let handlers = handlers.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let handlers: Vec<(HandlerId, String)> = handlers.collect::<Result<_, _>>()?;
    let mut received = conn.prepare_cached(
        "SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND (state IN (1, 3) OR attempts > 0)",
    )?;
    let mut recipients = EventsByHandler::new();
    for (handler, name) in handlers {
        for seq in seqs {
            if received.exists(params![handler, *seq])? {
                recipients.entry(name.clone()).or_default().insert(*seq);
            }
        }
    }
    Ok(recipients)
}

/// Number of running deliveries of these events.
pub(in crate::storage::sqlite) fn count_running(conn: &Connection, seqs: &[Seq]) -> Result<u64, StoreError> {
    let handlers = list_handler_ids(conn)?;
    let mut running = conn.prepare_cached(
        "SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state = 1 AND due_ms IS NOT NULL",
    )?;
    let mut count = 0;
    for handler in handlers {
        for seq in seqs {
            count += u64::from(running.exists(params![handler, *seq])?);
        }
    }
    Ok(count)
}

/// Ends the deliveries of an event as skipped, except those that succeeded or were skipped before. A running attempt
/// cannot be stopped, but its outcome is not recorded; with `waiting_only`, running deliveries are left unchanged.
pub(in crate::storage::sqlite) fn cancel_deliveries(
    conn: &Connection,
    seq: Seq,
    waiting_only: bool,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let mut cancelled = 0;
    for handler in list_handler_ids(conn)? {
        // Dead ones too: their note is an error text, which may repeat what was in the event.
        let ordering_key = conn
            .prepare_cached(
                "UPDATE deliveries SET state = ?3, due_ms = NULL, updated_ms = ?4, note = ?5
                 WHERE handler_id = ?1 AND event_seq = ?2 AND state NOT IN (3, 5) AND NOT (?6 AND state = 1)
                 RETURNING ordering_key",
            )?
            .query_row(
                params![handler, seq, DeliveryState::Skipped as i64, now_ms, SkipReason::Erased.as_str(), waiting_only],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(ordering_key) = ordering_key {
            cancelled += 1;
            advance_call_sequence(conn, handler, ordering_key, now_ms)?;
        }
    }
    Ok(cancelled)
}

/// Erases one event. Its id, its sequence number and its identity stay: the identity recognizes the body when it is
/// sent again.
pub(in crate::storage::sqlite) fn erase_event(
    conn: &Connection,
    key: &IdentityKey,
    seq: Seq,
    now_ms: i64,
) -> Result<ErasureCounts, StoreError> {
    // Because of this row, `settle` records nothing about the event any more, and a resent body is a duplicate. It is
    // copied from the event, so it comes before the deletion.
    conn.prepare_cached(
        "INSERT OR REPLACE INTO erased (seq, id, identity, company_id, erased_at_ms)
         SELECT seq, id, identity, company_id, ?2 FROM events WHERE seq = ?1",
    )?
    .execute(params![seq, now_ms])?;
    let mut erased = ErasureCounts {
        cancelled_deliveries: cancel_deliveries(conn, seq, false, now_ms)?,
        ..ErasureCounts::default()
    };
    let mut counts = PendingCounts::default();
    for handler in list_handler_ids(conn)? {
        erased.attempts += delete_attempts(conn, &mut counts, handler, seq)?;
    }
    counts.write(conn, TotalsTable::Attempts)?;
    if let Some(size_bytes) = delete_event(conn, key, seq, BodyDisposal::Overwrite, now_ms)? {
        (erased.events, erased.body_bytes) = (1, size_bytes);
        index_erased_identity(conn, seq)?;
    }
    Ok(erased)
}

/// Puts the identity back into the index, from which `delete_event` has removed it with all keys of the event.
fn index_erased_identity(conn: &Connection, seq: Seq) -> Result<(), StoreError> {
    let identity = conn
        .prepare_cached("SELECT identity FROM erased WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0).map(crate::storage::Identity))?;
    conn.prepare_cached("INSERT OR IGNORE INTO event_keys (key, seq) VALUES (?1, ?2)")?
        .execute(params![identity.index_key(), seq])?;
    Ok(())
}

/// Deletes the rows of these calls and chats, and returns their number.
pub(in crate::storage::sqlite) fn delete_calls(
    conn: &Connection,
    key: &IdentityKey,
    calls: &[CallKey],
) -> Result<u64, StoreError> {
    let mut removed = 0;
    let mut totals = PendingTotals::default();
    for (company, call_id) in calls {
        removed += delete_call(conn, key, &mut totals, *company, call_id)?;
    }
    totals.write(conn)?;
    Ok(removed)
}

/// Ids of rejected requests that contain data of the person. The table holds at most 1,000 rows, so all are read.
pub(in crate::storage::sqlite) fn find_rejected_of(
    conn: &Connection,
    person: &DataSubject,
) -> Result<Vec<i64>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT r.id, coalesce(c.id, 0), r.* FROM rejected r
         LEFT JOIN companies c ON c.slug = coalesce(r.company, 'default')",
    )?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        if person.includes_company(row.get(1)?) && row_matches(row, columns, person)? {
            ids.push(row.get(0)?);
        }
    }
    Ok(ids)
}

pub(in crate::storage::sqlite) fn delete_rejected(conn: &Connection, ids: &[i64]) -> Result<u64, StoreError> {
    let mut remove = conn.prepare_cached("DELETE FROM rejected WHERE id = ?1")?;
    let mut removed = 0;
    for id in ids {
        removed += remove.execute([id])? as u64;
    }
    Ok(removed)
}

/// Searches the invocations after the id `after`. Returns the matching ids, and where to continue; `None` at the end.
/// Bounded, because a read of the whole ledger in one go would keep its write-ahead log from being checkpointed.
pub(in crate::storage::sqlite) fn find_invocations_of(
    conn: &Connection,
    person: &DataSubject,
    after: i64,
) -> Result<(Vec<i64>, Option<i64>), StoreError> {
    const MAX_INVOCATIONS_SCANNED: usize = 5_000;
    let mut statement = conn.prepare_cached(
        "SELECT id, company_id, call_id, arguments, CAST(answer AS TEXT), reason FROM invocations WHERE id > ?1
         ORDER BY id LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, MAX_INVOCATIONS_SCANNED])?;
    let mut ids = Vec::new();
    let mut last_id = after;
    let mut scanned = 0;
    while let Some(row) = rows.next()? {
        last_id = row.get(0)?;
        scanned += 1;
        let company: CompanyId = row.get(1)?;
        let call_id: Option<String> = row.get(2)?;
        let is_in_call = call_id.is_some_and(|call_id| person.calls().contains(&(company, call_id)));
        if is_in_call || (person.includes_company(company) && row_matches(row, 6, person)?) {
            ids.push(last_id);
        }
    }
    Ok((ids, (scanned == MAX_INVOCATIONS_SCANNED).then_some(last_id)))
}

/// Primary key of a delivery: the handler and the sequence number of the event.
pub(in crate::storage::sqlite) type DeliveryKey = (HandlerId, Seq);

/// Searches the notes of deliveries and the errors and responses of attempts, also of other events: a destination may
/// have repeated the person's data in its response. Returns the matching deliveries, and where to continue; `None` at
/// the end.
pub(in crate::storage::sqlite) fn find_deliveries_mentioning(
    conn: &Connection,
    person: &DataSubject,
    after: DeliveryKey,
) -> Result<(Vec<DeliveryKey>, Option<DeliveryKey>), StoreError> {
    const MAX_DELIVERIES_SCANNED: usize = 5_000;
    let mut statement = conn.prepare_cached(
        "SELECT d.handler_id, d.event_seq, d.company_id, d.note,
            (SELECT group_concat(coalesce(a.error, '') || char(10) || coalesce(a.answer, ''), char(10)) FROM attempts a
             WHERE a.handler_id = d.handler_id AND a.event_seq = d.event_seq)
         FROM deliveries d WHERE (d.handler_id, d.event_seq) > (?1, ?2) ORDER BY d.handler_id, d.event_seq LIMIT ?3",
    )?;
    let mut rows = statement.query(params![after.0, after.1, MAX_DELIVERIES_SCANNED])?;
    let mut matching = Vec::new();
    let mut last_key = after;
    let mut scanned = 0;
    while let Some(row) = rows.next()? {
        last_key = (row.get(0)?, row.get(1)?);
        scanned += 1;
        if person.includes_company(row.get(2)?) && row_matches(row, 5, person)? {
            matching.push(last_key);
        }
    }
    Ok((matching, (scanned == MAX_DELIVERIES_SCANNED).then_some(last_key)))
}

/// Deletes the notes and attempts of these deliveries. The deliveries stay: they belong to events of other people.
pub(in crate::storage::sqlite) fn delete_delivery_texts(
    conn: &Connection,
    deliveries: &[DeliveryKey],
) -> Result<u64, StoreError> {
    let mut note = conn.prepare_cached("UPDATE deliveries SET note = NULL WHERE handler_id = ?1 AND event_seq = ?2")?;
    let mut counts = PendingCounts::default();
    let mut removed = 0;
    for (handler, seq) in deliveries {
        note.execute(params![handler, seq])?;
        removed += delete_attempts(conn, &mut counts, *handler, *seq)?;
    }
    counts.write(conn, TotalsTable::Attempts)?;
    Ok(removed)
}

/// Counts the rows that an erasure of the person and these events would delete.
pub(in crate::storage::sqlite) fn count_erasable(
    conn: &Connection,
    key: &IdentityKey,
    person: &DataSubject,
    seqs: &BTreeSet<Seq>,
) -> Result<ErasureCounts, StoreError> {
    let mut counts = ErasureCounts {
        rejected: find_rejected_of(conn, person)?.len() as u64,
        appointments: appointments::find_appointments_of(conn, person)?.len() as u64,
        ..ErasureCounts::default()
    };
    let mut size = conn.prepare_cached("SELECT size_bytes FROM events WHERE seq = ?1")?;
    // The same condition as in `cancel_deliveries`, so that the count announces what will be done.
    let mut cancelable = conn.prepare_cached(
        "SELECT count(*) FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state NOT IN (3, 5)",
    )?;
    let mut attempts = conn.prepare_cached(
        "SELECT (SELECT count(*) FROM attempts WHERE handler_id = ?1 AND event_seq = ?2)
            + (SELECT count(started_at_ms) FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2)",
    )?;
    let handlers = list_handler_ids(conn)?;
    for seq in seqs {
        counts.body_bytes += size.query_row([seq], |row| row.get::<_, u64>(0)).optional()?.unwrap_or(0);
        counts.events += 1;
        for handler in &handlers {
            counts.cancelled_deliveries += cancelable.query_row(params![handler, seq], |row| row.get::<_, u64>(0))?;
            counts.attempts += attempts.query_row(params![handler, seq], |row| row.get::<_, u64>(0))?;
        }
    }
    let mut call_rows = conn.prepare_cached(
        "SELECT (SELECT count(*) FROM calls INDEXED BY calls_key WHERE key = ?1 AND company_id = ?2 AND call_id = ?3)
            + (SELECT count(*) FROM chats INDEXED BY chats_key WHERE key = ?1 AND company_id = ?2 AND call_id = ?3)",
    )?;
    for (company, call_id) in person.calls() {
        let values = params![key.call_hash(call_id), company, call_id];
        counts.calls += call_rows.query_row(values, |row| row.get::<_, u64>(0))?;
    }
    Ok(counts)
}
