//! Reads stored events and their bodies, one by one or in batches.

use bytes::Bytes;
use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, ToSql, params, params_from_iter};

use super::bodies::BodyDigest;
use super::errors::RowColumn;
use super::event_codes::{EventCode, ShortenedText};
use super::query::{EventQuery, Order};
use super::readers::ReaderContext;
use crate::base::id::EventId;
use crate::storage::{
    BodyError, EventFilter, EventOrigin, EventState, EventSummary, PlanEvents, Seq, StoreError, StoredEvent,
    UnknownValueError,
};

/// Bytes of bodies in one batch. Bounds the memory of a reader thread regardless of the sizes of the events.
const MAX_CHUNK_BYTES: usize = 2 * 1024 * 1024;

pub(super) const SELECT_SUMMARY: &str =
    "SELECT e.seq, e.id, coalesce(c.slug, ''), e.event, e.call_id, e.agent_id, e.received_at_ms, e.source,
    e.content_type, e.query, e.signature, e.key_fingerprint, e.state,
    (SELECT first.id FROM events first WHERE first.seq = e.revision_of),
    coalesce((SELECT d.count FROM duplicates d WHERE d.event_seq = e.seq), 0), e.size_bytes, e.company_id,
    e.origin";
pub(super) const FROM_EVENTS: &str = " FROM events e LEFT JOIN companies c ON c.id = e.company_id";

impl ToSql for Seq {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0))
    }
}

impl FromSql for Seq {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

/// Reads a row of [`SELECT_SUMMARY`]; an unknown state or origin is an error.
fn read_summary(row: &Row) -> rusqlite::Result<EventSummary> {
    let (summary, damage) = read_damaged_summary(row)?;
    damage.map_or(Ok(summary), |unknown| Err(unknown.into()))
}

/// Reads a row of [`SELECT_SUMMARY`], and says which value of it is unknown. The summary has a common value instead.
pub(super) fn read_damaged_summary(row: &Row) -> rusqlite::Result<(EventSummary, Option<UnknownValueError>)> {
    let mut damage = None;
    let state = decode_or_record(row, 12, EventState::Stored, "state", &mut damage)?;
    let origin = decode_or_record(row, 17, EventOrigin::Retell, "origin", &mut damage)?;
    let summary = EventSummary {
        seq: row.get(0)?,
        id: EventId::from_bytes(row.get(1)?),
        company: row.get(2)?,
        kind: row.get(3)?,
        call_id: row.get(4)?,
        agent_id: row.get(5)?,
        received_at_ms: row.get(6)?,
        source: row.get(7)?,
        content_type: shortened_text(row, 8)?,
        query: row.get(9)?,
        signature: shortened_text(row, 10)?,
        key_fingerprint: row.get(11)?,
        state,
        revision_of: row.get::<_, Option<[u8; 16]>>(13)?.map(EventId::from_bytes),
        duplicate_count: row.get(14)?,
        size_bytes: row.get(15)?,
        company_id: row.get(16)?,
        origin,
    };
    Ok((summary, damage))
}

fn shortened_text(row: &Row, index: usize) -> rusqlite::Result<Option<String>> {
    Ok(row.get::<_, Option<ShortenedText>>(index)?.map(|ShortenedText(text)| text))
}

/// The value of a column; `common` for a code that is not known, which is put into `damage`.
fn decode_or_record<T: EventCode>(
    row: &Row,
    index: usize,
    common: T,
    column: &'static str,
    damage: &mut Option<UnknownValueError>,
) -> rusqlite::Result<T> {
    match T::from_row(row, index)? {
        Ok(value) => Ok(value),
        Err(code) => {
            let row = format!("seq {}", row.get::<_, i64>(0)?);
            *damage = Some(RowColumn { table: "events", row, column }.unknown_value(code.to_string()));
            Ok(common)
        }
    }
}

/// The columns that check the body; they follow those of [`SELECT_SUMMARY`].
pub(super) const BODY_COLUMNS: &str = ", e.identity, e.dedupe_discriminator";

/// Reads a row of [`SELECT_SUMMARY`] and [`BODY_COLUMNS`]; an unknown state or origin is an error.
fn read_event(row: &Row, reader: &ReaderContext) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent { summary: read_summary(row)?, body: read_body(row, reader)? })
}

/// Reads the body of a row of [`SELECT_SUMMARY`] and [`BODY_COLUMNS`], and checks it with its digest. A body that cannot
/// be read is part of the result and not an error: the summary is still of use, and so are the other events of the
/// batch.
pub(super) fn read_body(row: &Row, reader: &ReaderContext) -> rusqlite::Result<Result<Bytes, BodyError>> {
    match BodyDigest::from_row(row, 18, row.get(16)?, &reader.identity_key) {
        Ok(digest) => reader.bodies.read(&reader.conn, row.get(0)?, row.get(15)?, &digest),
        Err(error) => Ok(Err(error)),
    }
}

/// Candidates that are compared with a filter in one read transaction.
const MAX_CANDIDATES: usize = 5_000;

/// Candidates in the order of the query, each compared with the rest of its filter. SQLite keeps the order of the list,
/// because a CROSS JOIN is a nested loop.
const FROM_CANDIDATES: &str = " FROM json_each(?) candidate CROSS JOIN events e ON e.seq = candidate.value
    LEFT JOIN companies c ON c.id = e.company_id WHERE 1";

/// Resolves a filter to a query for [`list_next`].
pub(super) fn query(reader: &ReaderContext, filter: &EventFilter) -> Result<EventQuery, StoreError> {
    Ok(EventQuery::resolve(&reader.conn, &reader.identity_key, filter, Seq(0), Order::NewestFirst)?)
}

/// Adds the next matching events, until there are `limit`. Reads a bounded number of rows, and returns whether there may
/// be more.
pub(super) fn list_next(
    reader: &ReaderContext,
    query: &mut EventQuery,
    limit: usize,
    events: &mut Vec<EventSummary>,
) -> Result<bool, StoreError> {
    let missing = limit.saturating_sub(events.len());
    let candidates = query.next_candidates(&reader.conn, missing.min(MAX_CANDIDATES))?;
    let sql = format!("{SELECT_SUMMARY}{FROM_CANDIDATES}{}", query.conditions);
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(candidate_values(query, &candidates)), read_summary)?;
    for row in rows {
        events.push(row?);
    }
    Ok(!candidates.is_empty() && events.len() < limit)
}

fn candidate_values(query: &EventQuery, candidates: &[Seq]) -> Vec<Value> {
    std::iter::once(json_array(candidates)).chain(query.values.iter().cloned()).collect()
}

/// Sequence numbers as a parameter of `json_each`.
pub(super) fn json_array(seqs: &[Seq]) -> Value {
    let list: Vec<String> = seqs.iter().map(Seq::to_string).collect();
    Value::Text(format!("[{}]", list.join(",")))
}

pub(super) fn get(reader: &ReaderContext, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
    let sql = format!("{SELECT_SUMMARY}{BODY_COLUMNS}{FROM_EVENTS} WHERE e.id = ?1");
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut rows = statement.query([id.as_bytes()])?;
    rows.next()?.map(|row| read_event(row, reader)).transpose()
}

/// Matching events after `after`, and the last event that was visited; `None` at the end. Reads a bounded number of rows.
pub(super) fn export(
    reader: &ReaderContext,
    after: Seq,
    filter: &EventFilter,
) -> Result<(Vec<StoredEvent>, Option<Seq>), StoreError> {
    let mut query = EventQuery::resolve(&reader.conn, &reader.identity_key, filter, after, Order::OldestFirst)?;
    let limit = filter.limit.unwrap_or(usize::MAX).min(MAX_CANDIDATES);
    let candidates = query.next_candidates(&reader.conn, limit)?;
    let sql = format!("{SELECT_SUMMARY}{BODY_COLUMNS}{FROM_CANDIDATES}{}", query.conditions);
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(candidate_values(&query, &candidates)))?;
    let events =
        read_chunk(&mut rows, |row| read_event(row, reader), |event| event.body.as_ref().map_or(0, Bytes::len))?;
    // More candidates were visited than the last event only if all were.
    let is_cut = rows.next()?.is_some();
    let last_event = events.last().map(|event| event.summary.seq);
    Ok((events, if is_cut { last_event } else { candidates.last().copied() }))
}

/// An event whose body was read and compared with its digest.
pub(super) struct CheckedBody {
    pub(super) seq: Seq,
    pub(super) id: EventId,
    pub(super) error: Option<BodyError>,
}

/// Checks the bodies of at most `limit` events after `after`, one at a time in memory.
pub(super) fn check_bodies(reader: &ReaderContext, after: Seq, limit: usize) -> Result<Vec<CheckedBody>, StoreError> {
    let sql = format!("{SELECT_SUMMARY}{BODY_COLUMNS}{FROM_EVENTS} WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2");
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, limit], |row| {
        let id = EventId::from_bytes(row.get(1)?);
        Ok(CheckedBody { seq: row.get(0)?, id, error: read_body(row, reader)?.err() })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn exists(conn: &Connection, seq: Seq) -> Result<bool, StoreError> {
    Ok(conn.prepare_cached("SELECT 1 FROM events WHERE seq = ?1")?.exists([seq])?)
}

/// Whether one of these events, which were read without a gap, has been removed since.
pub(super) fn is_any_removed(conn: &Connection, events: &PlanEvents) -> Result<bool, StoreError> {
    let (Some((first, _)), Some((last, _))) = (events.first(), events.last()) else { return Ok(true) };
    let mut count = conn.prepare_cached("SELECT count(*) FROM events WHERE seq BETWEEN ?1 AND ?2")?;
    let left: usize = count.query_row(params![first.seq, last.seq], |row| row.get(0))?;
    Ok(left < events.len())
}

/// The sequence number of the last event accepted before `ms`. Exact to the millisecond, not to the event, because
/// two requests of the same moment may commit in either order. If all earlier events are gone, the number before the
/// first one that is left.
pub(super) fn seq_before(conn: &Connection, ms: i64) -> rusqlite::Result<i64> {
    // Ids begin with their time and have an index; `received_at_ms` has none.
    let before = conn
        .prepare_cached(
            "SELECT coalesce((SELECT seq FROM events WHERE id < ?1 ORDER BY id DESC LIMIT 1),
               (SELECT min(seq) - 1 FROM events))",
        )?
        .query_row([EventId::lower_bound_at(ms).as_bytes()], |row| row.get::<_, Option<i64>>(0))?;
    before.map_or_else(|| last_seq(conn), Ok)
}

/// The highest sequence number that was ever assigned. Not `max(seq)`, because the latest events may have been
/// removed.
pub(super) fn last_seq(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)")?
        .query_row([], |row| row.get(0))
}

/// Reads rows until their bodies exceed [`MAX_CHUNK_BYTES`]. Reads at least one row if there is any, so that a body
/// larger than the limit does not stop the caller's progress.
pub(super) fn read_chunk<T>(
    rows: &mut rusqlite::Rows,
    read: impl Fn(&Row) -> Result<T, StoreError>,
    size: impl Fn(&T) -> usize,
) -> Result<Vec<T>, StoreError> {
    let mut chunk = Vec::new();
    let mut chunk_bytes = 0;
    while chunk_bytes < MAX_CHUNK_BYTES
        && let Some(row) = rows.next()?
    {
        let item = read(row)?;
        chunk_bytes += size(&item);
        chunk.push(item);
    }
    Ok(chunk)
}
