//! Appending to the journal: known already, a revision, or new.

use rusqlite::{Connection, params};

use super::bodies::{BodyLocation, LARGE_BODY_BYTES};
use super::writer::WriterContext;
use crate::base::id::EventId;
use crate::storage::{AppendOutcome, Identity, IdentityKey, NewEvent, StoreError};

/// What an event is found by, worked out before the writing thread has it.
#[derive(Clone, Copy)]
pub(super) struct EventKeys {
    identity: Identity,
    /// See [`IdentityKey::call_key`].
    call_key: Option<i64>,
}

impl EventKeys {
    pub(super) fn from_event(event: &NewEvent, key: &IdentityKey) -> Self {
        let call = event.call_id.as_deref().zip(event.kind.as_deref());
        let call = call.map(|(call_id, name)| key.call_key(event.company_id, call_id, name));
        Self { identity: key.identity(event), call_key: call }
    }
}

pub(super) fn append(
    state: &mut WriterContext,
    event: &NewEvent,
    keys: EventKeys,
) -> Result<AppendOutcome, StoreError> {
    if let Some(seq) =
        find_first(state, keys.identity.index_key(), |seq| has_identity(&state.conn, seq, keys.identity))?
    {
        return count_duplicate(&state.conn, seq, event.received_at_ms);
    }
    let revision_of = match keys.call_key {
        Some(call) if event.revisable => {
            find_first(state, call, |seq| has_same_call_and_kind(&state.conn, seq, event))?
        }
        _ => None,
    };
    let place = (event.body.len() >= LARGE_BODY_BYTES).then(|| state.bodies.stage(event.body.clone()));
    let kept = match insert_event(&state.conn, event, keys.identity, revision_of, place) {
        Ok(seq) => {
            insert_recent_key(state, keys.identity.index_key(), seq)?;
            if let Some(call) = keys.call_key {
                insert_recent_key(state, call, seq)?;
            }
            Ok(AppendOutcome::Stored { revision: revision_of.is_some(), unparsed: event.unparsed })
        }
        // A statement that took the whole transaction with it leaves nothing to insert into.
        Err(StoreError::InvalidData(why)) if state.conn.is_autocommit() => Err(StoreError::Unavailable(why)),
        Err(StoreError::InvalidData(why)) => insert_without_columns(state, event, keys.identity, place, &why),
        Err(away) => Err(away),
    };
    state.appended_events += usize::from(kept.is_ok());
    if kept.is_err() && place.is_some() {
        state.bodies.unstage();
    }
    kept
}

/// Appends beside a running receiver. Its writer does not learn of the keys, so they go into the index at once; until its next
/// start it takes the same body for a new event. That is right only for events that nobody sends, and whose body says which
/// change it tells of.
pub(super) fn append_by_operator(conn: &Connection, event: &NewEvent, keys: EventKeys) -> Result<(), StoreError> {
    let seq = insert_event(conn, event, keys.identity, None, None)?;
    let mut note = conn.prepare_cached("INSERT OR IGNORE INTO event_keys (key, seq) VALUES (?1, ?2)")?;
    for key in [Some(keys.identity.index_key()), keys.call_key].into_iter().flatten() {
        note.execute([key, seq])?;
    }
    Ok(())
}

/// One poisoned event must not cost its neighbours their commit, nor be lost itself: its bytes are kept, its columns not.
fn insert_without_columns(
    state: &mut WriterContext,
    event: &NewEvent,
    identity: Identity,
    place: Option<BodyLocation>,
    why: &str,
) -> Result<AppendOutcome, StoreError> {
    tracing::warn!(event_id = %event.id, why, "the store refused the event's columns; kept as unparsed");
    let bare = NewEvent {
        kind: None,
        call_id: None,
        agent_id: None,
        unparsed: true,
        source: None,
        content_type: None,
        query: None,
        signature: None,
        key_fingerprint: None,
        ..event.clone()
    };
    let seq = insert_event(&state.conn, &bare, identity, None, place)?;
    insert_recent_key(state, identity.index_key(), seq)?;
    Ok(AppendOutcome::Stored { revision: false, unparsed: true })
}

/// Memory may know the key from an event that was purged or erased since, perhaps by another process.
fn insert_recent_key(state: &mut WriterContext, key: i64, seq: i64) -> Result<(), StoreError> {
    if let Some(first) = state.recent_keys.first_seq(key)
        && !state.conn.prepare_cached("SELECT 1 FROM events WHERE seq = ?1")?.exists([first])?
    {
        state.recent_keys.remove(key);
    }
    state.recent_keys.insert(key, seq);
    Ok(())
}

/// Writes and removes about as much as a large event's pages: an empty transaction would succeed on a full disk.
pub(super) fn probe(conn: &Connection) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO probes (filler) VALUES (zeroblob(65536))")?.execute([])?;
    conn.prepare_cached("DELETE FROM probes")?.execute([])?;
    Ok(())
}

/// The first event with this key that `is_it`. Older events are on disk, so the index is asked first.
fn find_first(
    state: &WriterContext,
    key: i64,
    is_it: impl Fn(i64) -> rusqlite::Result<bool>,
) -> Result<Option<i64>, StoreError> {
    if state.identity_filter.may_contain(key) {
        let mut look_up = state.conn.prepare_cached("SELECT seq FROM event_keys WHERE key = ?1 ORDER BY seq")?;
        let mut rows = look_up.query([key])?;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            if is_it(seq)? {
                return Ok(Some(seq));
            }
        }
    }
    match state.recent_keys.first_seq(key) {
        Some(seq) if is_it(seq)? => Ok(Some(seq)),
        _ => Ok(None),
    }
}

/// Also when the event was erased: its body is not to come back.
fn has_identity(conn: &Connection, seq: i64, identity: Identity) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM events WHERE seq = ?1 AND identity = ?2
         UNION ALL SELECT 1 FROM erased WHERE seq = ?1 AND identity = ?2",
    )?
    .exists(params![seq, identity.0])
}

fn has_same_call_and_kind(conn: &Connection, seq: i64, event: &NewEvent) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM events WHERE seq = ?1 AND company_id = ?2 AND call_id = ?3 AND event = ?4")?
        .exists(params![seq, event.company_id, event.call_id, event.kind])
}

fn count_duplicate(conn: &Connection, seq: i64, at_ms: i64) -> Result<AppendOutcome, StoreError> {
    let id = conn
        .prepare_cached("SELECT id FROM events WHERE seq = ?1 UNION ALL SELECT id FROM erased WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))?;
    conn.prepare_cached(
        "INSERT INTO duplicates (event_seq, count, last_at_ms) SELECT seq, 1, ?2 FROM events WHERE seq = ?1
         ON CONFLICT (event_seq) DO UPDATE SET count = count + 1, last_at_ms = excluded.last_at_ms",
    )?
    .execute(params![seq, at_ms])?;
    Ok(AppendOutcome::Duplicate { original_id: EventId::from_bytes(id) })
}

fn insert_event(
    conn: &Connection,
    event: &NewEvent,
    identity: Identity,
    revision_of: Option<i64>,
    place: Option<BodyLocation>,
) -> Result<i64, StoreError> {
    conn.prepare_cached(
        "INSERT INTO events (id, identity, company_id, event, call_id, agent_id, received_at_ms, source, content_type,
           query, signature, key_fingerprint, state, revision_of, size_bytes,
           body_file, body_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?
    .execute(params![
        event.id.as_bytes(),
        identity.0,
        event.company_id,
        event.kind,
        event.call_id,
        event.agent_id,
        event.received_at_ms,
        event.source,
        event.content_type,
        event.query,
        event.signature,
        event.key_fingerprint,
        if event.unparsed { "unparsed" } else { "stored" },
        revision_of,
        event.body.len(),
        place.map(|place| place.file_number),
        place.map(|place| place.offset),
        if place.is_some() { None } else { Some(&event.body[..]) },
    ])?;
    Ok(conn.last_insert_rowid())
}
