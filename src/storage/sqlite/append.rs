//! Appending to the journal: known already, a revision, or new.

use rusqlite::{Connection, params};

use super::bodies::{LARGE, Place};
use super::writer::WriteState;
use crate::base::id::EventId;
use crate::storage::{Appended, Identity, IdentityKey, NewEvent, StoreError};

/// What an event is found by, worked out before the writing thread has it.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    identity: Identity,
    /// See [`IdentityKey::call_key`].
    call: Option<i64>,
}

impl Keys {
    pub(super) fn of(event: &NewEvent, key: &IdentityKey) -> Self {
        let call = event.call_id.as_deref().zip(event.event.as_deref());
        let call = call.map(|(call_id, name)| key.call_key(event.company_id, call_id, name));
        Self { identity: key.identity(event), call }
    }
}

pub(super) fn append(state: &mut WriteState, event: &NewEvent, keys: Keys) -> Result<Appended, StoreError> {
    if let Some(seq) = find(state, keys.identity.index_key(), |seq| is_same(&state.conn, seq, keys.identity))? {
        return note_duplicate(&state.conn, seq, event.received_at_ms);
    }
    let revision_of = match keys.call {
        Some(call) if event.revisable => find(state, call, |seq| is_named_like(&state.conn, seq, event))?,
        _ => None,
    };
    let place = (event.body.len() >= LARGE).then(|| state.bodies.stage(event.body.clone()));
    let kept = match insert(&state.conn, event, keys.identity, revision_of, place) {
        Ok(seq) => {
            remember(state, keys.identity.index_key(), seq)?;
            if let Some(call) = keys.call {
                remember(state, call, seq)?;
            }
            Ok(Appended::Stored { revision: revision_of.is_some(), unparsed: event.unparsed })
        }
        // A statement that took the whole transaction with it leaves nothing to insert into.
        Err(StoreError::Refused(why)) if state.conn.is_autocommit() => Err(StoreError::Unavailable(why)),
        Err(StoreError::Refused(why)) => keep_bare(state, event, keys.identity, place, &why),
        Err(away) => Err(away),
    };
    state.appended += usize::from(kept.is_ok());
    if kept.is_err() && place.is_some() {
        state.bodies.unstage();
    }
    kept
}

/// Appends beside a running receiver. Its writer does not learn of the keys, so they go into the index at once; until its next
/// start it takes the same body for a new event. That is right only for events that nobody sends, and whose body says which
/// change it tells of.
pub(super) fn append_beside(conn: &Connection, event: &NewEvent, keys: Keys) -> Result<(), StoreError> {
    let seq = insert(conn, event, keys.identity, None, None)?;
    let mut note = conn.prepare_cached("INSERT OR IGNORE INTO event_keys (key, seq) VALUES (?1, ?2)")?;
    for key in [Some(keys.identity.index_key()), keys.call].into_iter().flatten() {
        note.execute([key, seq])?;
    }
    Ok(())
}

/// One poisoned event must not cost its neighbours their commit, nor be lost itself: its bytes are kept, its columns not.
fn keep_bare(
    state: &mut WriteState,
    event: &NewEvent,
    identity: Identity,
    place: Option<Place>,
    why: &str,
) -> Result<Appended, StoreError> {
    tracing::warn!(event_id = %event.id, why, "the store refused the event's columns; kept as unparsed");
    let bare = NewEvent {
        event: None,
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
    let seq = insert(&state.conn, &bare, identity, None, place)?;
    remember(state, identity.index_key(), seq)?;
    Ok(Appended::Stored { revision: false, unparsed: true })
}

/// Memory may know the key from an event that was purged or erased since, perhaps by another process.
fn remember(state: &mut WriteState, key: i64, seq: i64) -> Result<(), StoreError> {
    if let Some(first) = state.recent.first(key)
        && !state.conn.prepare_cached("SELECT 1 FROM events WHERE seq = ?1")?.exists([first])?
    {
        state.recent.let_go(key);
    }
    state.recent.insert(key, seq);
    Ok(())
}

/// Writes and removes about as much as a large event's pages: an empty transaction would succeed on a full disk.
pub(super) fn probe(conn: &Connection) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO probes (filler) VALUES (zeroblob(65536))")?.execute([])?;
    conn.prepare_cached("DELETE FROM probes")?.execute([])?;
    Ok(())
}

/// The first event with this key that `is_it`. Older events are on disk, so the index is asked first.
fn find(
    state: &WriteState,
    key: i64,
    is_it: impl Fn(i64) -> rusqlite::Result<bool>,
) -> Result<Option<i64>, StoreError> {
    if state.filter.may_have(key) {
        let mut look_up = state.conn.prepare_cached("SELECT seq FROM event_keys WHERE key = ?1 ORDER BY seq")?;
        let mut rows = look_up.query([key])?;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            if is_it(seq)? {
                return Ok(Some(seq));
            }
        }
    }
    match state.recent.first(key) {
        Some(seq) if is_it(seq)? => Ok(Some(seq)),
        _ => Ok(None),
    }
}

/// Also when the event was erased: its body is not to come back.
fn is_same(conn: &Connection, seq: i64, identity: Identity) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM events WHERE seq = ?1 AND identity = ?2
         UNION ALL SELECT 1 FROM erased WHERE seq = ?1 AND identity = ?2",
    )?
    .exists(params![seq, identity.0])
}

fn is_named_like(conn: &Connection, seq: i64, event: &NewEvent) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM events WHERE seq = ?1 AND company_id = ?2 AND call_id = ?3 AND event = ?4")?
        .exists(params![seq, event.company_id, event.call_id, event.event])
}

fn note_duplicate(conn: &Connection, seq: i64, at_ms: i64) -> Result<Appended, StoreError> {
    let id = conn
        .prepare_cached("SELECT id FROM events WHERE seq = ?1 UNION ALL SELECT id FROM erased WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))?;
    conn.prepare_cached(
        "INSERT INTO duplicates (event_seq, count, last_at_ms) SELECT seq, 1, ?2 FROM events WHERE seq = ?1
         ON CONFLICT (event_seq) DO UPDATE SET count = count + 1, last_at_ms = excluded.last_at_ms",
    )?
    .execute(params![seq, at_ms])?;
    Ok(Appended::Duplicate { of: EventId::from_bytes(id) })
}

fn insert(
    conn: &Connection,
    event: &NewEvent,
    identity: Identity,
    revision_of: Option<i64>,
    place: Option<Place>,
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
        event.event,
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
        place.map(|place| place.file),
        place.map(|place| place.at),
        if place.is_some() { None } else { Some(&event.body[..]) },
    ])?;
    Ok(conn.last_insert_rowid())
}
