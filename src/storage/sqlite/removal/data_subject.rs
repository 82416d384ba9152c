//! Finds the data of one person: by the ids of calls, or by a phone number in any text that the store holds.

use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use crate::base::id::CompanyId;
use crate::calls::CallKind;
use crate::storage::sqlite::bodies::{BodyDigest, BodyReader};
use crate::storage::sqlite::calls::table_name;
use crate::storage::{CallKey, DataSubject, IdentityKey, JournalScanResult, Position, Seq, StoreError};

/// Events read in one go. A reader that keeps its snapshot for longer keeps the write-ahead log from being
/// checkpointed.
const MAX_ROWS_SCANNED: usize = 2_000;
/// Body bytes read in one go, for the same reason.
const MAX_BODY_BYTES_SCANNED: usize = 16 * 1024 * 1024;

/// Searches the events after `after`, up to the limits of one go.
pub(in crate::storage::sqlite) fn scan_journal(
    conn: &Connection,
    bodies: &BodyReader,
    key: &IdentityKey,
    person: &DataSubject,
    after: Seq,
) -> Result<JournalScanResult, StoreError> {
    let mut rows = conn.prepare_cached(
        "SELECT seq, company_id, call_id, query, size_bytes, identity, dedupe_discriminator FROM events
         WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = rows.query(params![after, MAX_ROWS_SCANNED])?;
    let mut result = JournalScanResult::default();
    let mut scanned_rows = 0;
    let mut scanned_bytes = 0;
    let mut last_seq = after;
    while let Some(row) = rows.next()? {
        let seq: Seq = row.get(0)?;
        let company: CompanyId = row.get(1)?;
        scanned_rows += 1;
        last_seq = seq;
        if person.includes_company(company) {
            scanned_bytes += row.get::<_, usize>(4)?;
            let body = |row: &Row| bodies.read_damaged(conn, seq, row.get(4)?);
            match event_matches(row, company, body, key, person)? {
                // Counted, because the erasure must not report that nothing is left.
                None => result.unreadable_bodies += 1,
                Some(false) => {}
                Some(true) => {
                    result.matching_seqs.push(seq);
                    let call_id: Option<String> = row.get(2)?;
                    result.matching_calls.extend(call_id.map(|call_id| (company, call_id)));
                }
            }
        }
        if scanned_bytes > MAX_BODY_BYTES_SCANNED {
            break;
        }
    }
    let has_more = scanned_rows == MAX_ROWS_SCANNED || scanned_bytes > MAX_BODY_BYTES_SCANNED;
    result.next_after = has_more.then_some(Position::after(last_seq));
    Ok(result)
}

/// Whether an event contains data of the person; `None` when its body cannot be read, or is damaged and does not
/// mention them any more.
fn event_matches(
    row: &Row,
    company: CompanyId,
    read_body: impl Fn(&Row) -> rusqlite::Result<Option<Vec<u8>>>,
    key: &IdentityKey,
    person: &DataSubject,
) -> rusqlite::Result<Option<bool>> {
    // The call id and the query of the request are columns; everything else of a request is in the body.
    for column in [2, 3] {
        if row.get_ref(column)?.as_bytes_or_null()?.is_some_and(|text| person.matches_text(text)) {
            return Ok(Some(true));
        }
    }
    let Some(body) = read_body(row)? else { return Ok(None) };
    if person.matches_text(&body) {
        return Ok(Some(true));
    }
    let is_intact = BodyDigest::from_row(row, 5, company, key).is_ok_and(|digest| digest.matches(&body));
    Ok(is_intact.then_some(false))
}

/// Sequence numbers of the events of calls. The index of call keys is written behind: it lacks the latest events,
/// which are searched one by one.
pub(in crate::storage::sqlite) fn list_event_seqs_of_calls(
    conn: &Connection,
    key: &IdentityKey,
    calls: &BTreeSet<CallKey>,
) -> Result<BTreeSet<Seq>, StoreError> {
    let mut seqs = BTreeSet::new();
    // The index key contains the event kind, so the keys of one call are a range.
    let mut indexed = conn.prepare_cached(
        "SELECT seq FROM events WHERE company_id = ?1 AND call_id = ?2
         AND seq IN (SELECT seq FROM event_keys WHERE key BETWEEN ?3 AND ?4)",
    )?;
    for (company, call_id) in calls {
        let (first, last) = key.call_key_range(call_id).into_inner();
        let rows = indexed.query_map(params![company, call_id, first, last], |row| row.get::<_, Seq>(0))?;
        for seq in rows {
            seqs.insert(seq?);
        }
    }
    // One scan for all calls: the tail is short, and calls may be many.
    let mut tail = conn.prepare_cached(
        "SELECT seq, company_id, call_id FROM events WHERE call_id IS NOT NULL
         AND seq > (SELECT value FROM progress WHERE name = 'indexed_through')",
    )?;
    let mut rows = tail.query([])?;
    while let Some(row) = rows.next()? {
        if calls.contains(&(row.get(1)?, row.get(2)?)) {
            seqs.insert(row.get(0)?);
        }
    }
    Ok(seqs)
}

/// Calls or chats whose rows contain data of the person, even when their events are gone; and the id of the row after which
/// to continue, `None` at the end of the table.
pub(in crate::storage::sqlite) fn find_calls_in_table(
    conn: &Connection,
    person: &DataSubject,
    kind: CallKind,
    after: i64,
) -> Result<(Vec<CallKey>, Option<i64>), StoreError> {
    let table = table_name(kind);
    // `*`: every column is searched, also those that a later version adds.
    let sql = format!("SELECT id, company_id, call_id, * FROM {table} WHERE id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = conn.prepare_cached(&sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query(params![after, MAX_ROWS_SCANNED])?;
    let mut matching = Vec::new();
    let mut scanned = 0;
    let mut last_id = after;
    while let Some(row) = rows.next()? {
        let company: CompanyId = row.get(1)?;
        if person.includes_company(company) && row_matches(row, columns, person)? {
            matching.push((company, row.get(2)?));
        }
        scanned += 1;
        last_id = row.get(0)?;
    }
    Ok((matching, (scanned == MAX_ROWS_SCANNED).then_some(last_id)))
}

/// Whether any text or blob among the first `columns` columns of a row contains data of the person.
pub(in crate::storage::sqlite) fn row_matches(
    row: &Row,
    columns: usize,
    person: &DataSubject,
) -> rusqlite::Result<bool> {
    for column in 0..columns {
        if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = row.get_ref(column)?
            && person.matches_text(bytes)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
