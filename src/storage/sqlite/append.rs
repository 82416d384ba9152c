//! Appending to the journal: known already, a revision, or new.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::bodies::{LARGE, Place};
use super::recent::{CallKey, Entry};
use super::writer::WriteState;
use crate::base::id::EventId;
use crate::storage::{Appended, Identity, NewEvent, StoreError};

pub(super) fn append(state: &mut WriteState, event: &NewEvent, identity: Identity) -> Result<Appended, StoreError> {
    if let Some(seq) = known(state, identity)? {
        return note_duplicate(&state.conn, seq, event.received_at_ms);
    }
    let call = call_key(event);
    let revision_of = match &call {
        Some(call) if event.revisable => first_of(state, call)?,
        _ => None,
    };
    let place = (event.body.len() >= LARGE).then(|| state.bodies.stage(event.body.clone()));
    let kept = match insert(&state.conn, event, identity, revision_of, place) {
        Ok(seq) => {
            state.recent.insert(Entry { seq, identity, call });
            Ok(Appended::Stored { revision: revision_of.is_some(), unparsed: event.unparsed })
        }
        // A statement that took the whole transaction with it leaves nothing to insert into.
        Err(StoreError::Refused(why)) if state.conn.is_autocommit() => Err(StoreError::Unavailable(why)),
        Err(StoreError::Refused(why)) => keep_bare(state, event, identity, place, &why),
        Err(away) => Err(away),
    };
    if kept.is_err() && place.is_some() {
        state.bodies.unstage();
    }
    kept
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
    state.recent.insert(Entry { seq, identity, call: None });
    Ok(Appended::Stored { revision: false, unparsed: true })
}

/// Writes and removes about as much as a large event's pages: an empty transaction would succeed on a full disk.
pub(super) fn probe(conn: &Connection) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO probes (filler) VALUES (zeroblob(65536))")?.execute([])?;
    conn.prepare_cached("DELETE FROM probes")?.execute([])?;
    Ok(())
}

fn call_key(event: &NewEvent) -> Option<Arc<CallKey>> {
    let (call_id, name) = (event.call_id.as_deref()?, event.event.as_deref()?);
    Some(Arc::new(CallKey { company_id: event.company_id, call_id: call_id.into(), event: name.into() }))
}

fn known(state: &WriteState, identity: Identity) -> Result<Option<i64>, StoreError> {
    if let Some(seq) = state.recent.by_identity(&identity) {
        return Ok(Some(seq));
    }
    if !state.filter.may_have(&identity) {
        return Ok(None);
    }
    let mut look_up = state.conn.prepare_cached("SELECT seq FROM identities WHERE identity = ?1")?;
    Ok(look_up.query_row([identity.0], |row| row.get(0)).optional()?)
}

fn first_of(state: &WriteState, call: &CallKey) -> Result<Option<i64>, StoreError> {
    // Older events are on disk, so the index is asked first: memory may hold a later revision only.
    if state.filter.may_have(call) {
        let mut look_up = state.conn.prepare_cached(
            "SELECT seq FROM call_events WHERE company_id = ?1 AND call_id = ?2 AND event = ?3 ORDER BY seq LIMIT 1",
        )?;
        let indexed =
            look_up.query_row(params![call.company_id, call.call_id, call.event], |row| row.get(0)).optional()?;
        if indexed.is_some() {
            return Ok(indexed);
        }
    }
    Ok(state.recent.by_call(call))
}

fn note_duplicate(conn: &Connection, seq: i64, at_ms: i64) -> Result<Appended, StoreError> {
    let id = conn.prepare_cached("SELECT id FROM events WHERE seq = ?1")?.query_row([seq], |row| row.get(0))?;
    conn.prepare_cached(
        "INSERT INTO duplicates (event_seq, count, last_at_ms) VALUES (?1, 1, ?2)
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
