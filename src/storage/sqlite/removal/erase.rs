//! Erasure: one person's data goes, and does not come back when Retell or somebody else sends it again.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::data_subject::{DataSubject, row_matches};
use super::{BodyDisposal, appointments, delete_attempts, delete_call, delete_event, list_handler_ids};
use crate::storage::sqlite::deliveries::advance_call_sequence;
use crate::storage::{DeliveryState, HandlerId, IdentityKey, SkipReason, StoreError};

/// What was erased in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ErasureCounts {
    /// Events.
    pub events: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// Deliveries that had not been made and never will be.
    pub cancelled_deliveries: u64,
    /// Attempts.
    pub attempts: u64,
    /// Rows of calls and chats.
    pub calls: u64,
    /// Refused requests.
    pub rejected: u64,
    /// Invocations of custom functions.
    pub invocations: u64,
    /// Appointments.
    pub appointments: u64,
}

impl std::ops::AddAssign for ErasureCounts {
    fn add_assign(&mut self, more: Self) {
        self.events += more.events;
        self.body_bytes += more.body_bytes;
        self.cancelled_deliveries += more.cancelled_deliveries;
        self.attempts += more.attempts;
        self.calls += more.calls;
        self.rejected += more.rejected;
        self.invocations += more.invocations;
        self.appointments += more.appointments;
    }
}

/// How many events each handler was given, by name: what it did with them is beyond the store.
pub(crate) type EventsByHandler = BTreeMap<String, BTreeSet<i64>>;

/// Who was given these events: deliveries that succeeded, are under way, or were tried.
pub(in crate::storage::sqlite) fn list_recipients(
    conn: &Connection,
    seqs: &BTreeSet<i64>,
) -> Result<EventsByHandler, StoreError> {
    let mut names = conn.prepare_cached("SELECT id, name FROM handlers")?;
    let names = names.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let names: Vec<(HandlerId, String)> = names.collect::<Result<_, _>>()?;
    let mut given = conn.prepare_cached(
        "SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND (state IN (1, 3) OR attempts > 0)",
    )?;
    let mut outside = EventsByHandler::new();
    for (handler, name) in names {
        for seq in seqs {
            if given.exists([handler, *seq])? {
                outside.entry(name.clone()).or_default().insert(*seq);
            }
        }
    }
    Ok(outside)
}

/// How many of these events a handler is at.
pub(in crate::storage::sqlite) fn count_running(conn: &Connection, seqs: &[i64]) -> Result<u64, StoreError> {
    let handlers = list_handler_ids(conn)?;
    let mut running = conn.prepare_cached(
        "SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state = 1 AND due_ms IS NOT NULL",
    )?;
    let mut count = 0;
    for handler in handlers {
        for seq in seqs {
            count += u64::from(running.exists([handler, *seq])?);
        }
    }
    Ok(count)
}

/// Ends deliveries of an event that are not finished. Those under way go on, what they come to is not written down; with
/// `waiting_only` they are left alone for now.
pub(in crate::storage::sqlite) fn cancel_deliveries(
    conn: &Connection,
    seq: i64,
    waiting_only: bool,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let mut cancelled = 0;
    for handler in list_handler_ids(conn)? {
        let delivery = conn
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
        if let Some(ordering_key) = delivery {
            cancelled += 1;
            advance_call_sequence(conn, handler, ordering_key, now_ms)?;
        }
    }
    Ok(cancelled)
}

/// Erases one event. What stays is its id, its number, and a hash by which its body is known when it comes again.
pub(in crate::storage::sqlite) fn erase_event(
    conn: &Connection,
    key: &IdentityKey,
    seq: i64,
    now_ms: i64,
) -> Result<ErasureCounts, StoreError> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO erased (seq, id, identity, company_id, erased_at_ms)
         SELECT seq, id, identity, company_id, ?2 FROM events WHERE seq = ?1",
    )?
    .execute([seq, now_ms])?;
    let mut erased = ErasureCounts {
        cancelled_deliveries: cancel_deliveries(conn, seq, false, now_ms)?,
        ..ErasureCounts::default()
    };
    for handler in list_handler_ids(conn)? {
        erased.attempts += delete_attempts(conn, handler, seq)?;
    }
    if let Some(size_bytes) = delete_event(conn, key, seq, BodyDisposal::Overwrite, now_ms)? {
        (erased.events, erased.body_bytes) = (1, size_bytes);
        index_erased_identity(conn, seq)?;
    }
    Ok(erased)
}

/// The index goes on finding the identity, and so what is left of the event.
fn index_erased_identity(conn: &Connection, seq: i64) -> Result<(), StoreError> {
    let identity = conn
        .prepare_cached("SELECT identity FROM erased WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0).map(crate::storage::Identity))?;
    conn.prepare_cached("INSERT OR IGNORE INTO event_keys (key, seq) VALUES (?1, ?2)")?
        .execute([identity.index_key(), seq])?;
    Ok(())
}

/// The rows of these calls and chats.
pub(in crate::storage::sqlite) fn delete_calls(conn: &Connection, calls: &[(i64, String)]) -> Result<u64, StoreError> {
    calls.iter().try_fold(0, |removed, (company, call_id)| Ok(removed + delete_call(conn, *company, call_id)?))
}

/// Refused requests that are about the person, by number. There are never many.
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
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if person.includes_company(row.get(1)?) && row_matches(row, columns, person)? {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
}

/// Removes them.
pub(in crate::storage::sqlite) fn delete_rejected(conn: &Connection, ids: &[i64]) -> Result<u64, StoreError> {
    let mut remove = conn.prepare_cached("DELETE FROM rejected WHERE id = ?1")?;
    ids.iter().try_fold(0, |removed, id| Ok(removed + remove.execute([id])? as u64))
}

/// Looks for the person in invocations behind this one: which, and where to go on.
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
    let (mut found, mut at, mut looked) = (Vec::new(), after, 0);
    while let Some(row) = rows.next()? {
        (at, looked) = (row.get(0)?, looked + 1);
        let (company, call_id): (i64, Option<String>) = (row.get(1)?, row.get(2)?);
        let in_call = call_id.is_some_and(|call_id| person.calls().contains(&(company, call_id)));
        if in_call || (person.includes_company(company) && row_matches(row, 6, person)?) {
            found.push(at);
        }
    }
    Ok((found, (looked == MAX_INVOCATIONS_SCANNED).then_some(at)))
}

/// Removes them.
pub(in crate::storage::sqlite) fn delete_invocations(conn: &Connection, ids: &[i64]) -> Result<u64, StoreError> {
    let mut remove = conn.prepare_cached("DELETE FROM invocations WHERE id = ?1")?;
    ids.iter().try_fold(0, |removed, id| Ok(removed + remove.execute([id])? as u64))
}

/// Where a look over deliveries and attempts is.
pub(in crate::storage::sqlite) type DeliveryKey = (HandlerId, i64);

/// Looks for the person in what other deliveries say went wrong or was answered: which, and where to go on.
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
    let (mut found, mut at, mut looked) = (Vec::new(), after, 0);
    while let Some(row) = rows.next()? {
        (at, looked) = ((row.get(0)?, row.get(1)?), looked + 1);
        if person.includes_company(row.get(2)?) && row_matches(row, 5, person)? {
            found.push(at);
        }
    }
    Ok((found, (looked == MAX_DELIVERIES_SCANNED).then_some(at)))
}

/// Removes what these deliveries and their attempts say.
pub(in crate::storage::sqlite) fn delete_delivery_texts(
    conn: &Connection,
    deliveries: &[DeliveryKey],
) -> Result<u64, StoreError> {
    let mut note = conn.prepare_cached("UPDATE deliveries SET note = NULL WHERE handler_id = ?1 AND event_seq = ?2")?;
    let mut removed = 0;
    for (handler, seq) in deliveries {
        note.execute([handler, seq])?;
        removed += delete_attempts(conn, *handler, *seq)?;
    }
    Ok(removed)
}

/// How much there is to erase.
pub(in crate::storage::sqlite) fn count_erasable(
    conn: &Connection,
    person: &DataSubject,
    seqs: &BTreeSet<i64>,
) -> Result<ErasureCounts, StoreError> {
    let mut count =
        ErasureCounts { rejected: find_rejected_of(conn, person)?.len() as u64, ..ErasureCounts::default() };
    count.appointments = appointments::find_appointments_of(conn, person)?.len() as u64;
    let mut size = conn.prepare_cached("SELECT size_bytes FROM events WHERE seq = ?1")?;
    let mut waiting = conn.prepare_cached(
        "SELECT count(*) FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state NOT IN (3, 5)",
    )?;
    let mut attempts = conn.prepare_cached("SELECT count(*) FROM attempts WHERE handler_id = ?1 AND event_seq = ?2")?;
    let handlers = list_handler_ids(conn)?;
    for seq in seqs {
        count.body_bytes += size.query_row([seq], |row| row.get::<_, u64>(0)).optional()?.unwrap_or(0);
        count.events += 1;
        for handler in &handlers {
            count.cancelled_deliveries += waiting.query_row([handler, seq], |row| row.get::<_, u64>(0))?;
            count.attempts += attempts.query_row([handler, seq], |row| row.get::<_, u64>(0))?;
        }
    }
    let mut row = conn.prepare_cached(
        "SELECT (SELECT count(*) FROM calls WHERE company_id = ?1 AND call_id = ?2)
            + (SELECT count(*) FROM chats WHERE company_id = ?1 AND call_id = ?2)",
    )?;
    for (company, call_id) in person.calls() {
        count.calls += row.query_row(params![company, call_id], |row| row.get::<_, u64>(0))?;
    }
    Ok(count)
}
