//! Appends events to the journal: finds out whether an event is a duplicate, a revision or new.

use rusqlite::{Connection, params};

use crate::base::id::EventId;
use crate::storage::sqlite::bodies::{BodyLocation, LARGE_BODY_BYTES};
use crate::storage::sqlite::event_codes::{ContentTypeColumn, EventCode, SignatureColumn};
use crate::storage::sqlite::query::time_range;
use crate::storage::sqlite::writer::WriterContext;
use crate::storage::{AppendOutcome, EventState, Identity, IdentityKey, NewEvent, Seq, StoreError};

/// The hashes by which an event is found. The caller's task computes them, because hashing a large body would hold up
/// the writer thread.
#[derive(Clone, Copy)]
pub(in crate::storage::sqlite) struct EventKeys {
    identity: Identity,
    /// See [`IdentityKey::call_key`]; `None` for an event without a call or without a kind.
    call_key: Option<i64>,
}

impl EventKeys {
    pub(in crate::storage::sqlite) fn from_event(event: &NewEvent, key: &IdentityKey) -> Self {
        let call_key = match (&event.call_id, &event.kind) {
            (Some(call_id), Some(kind)) => Some(key.call_key(event.company_id, call_id, kind)),
            _ => None,
        };
        Self { identity: key.identity(event), call_key }
    }
}

pub(in crate::storage::sqlite) fn append(
    state: &mut WriterContext,
    event: &NewEvent,
    keys: EventKeys,
) -> Result<AppendOutcome, StoreError> {
    if let Some(refusal) = &state.intake_refusal {
        return Err(refusal.clone());
    }
    // One thread appends, and it looks up and inserts in one transaction, so two requests with the same body cannot
    // both find nothing: the second one finds the first, even when the first is not committed yet.
    let identity_key = keys.identity.index_key();
    if let Some(seq) = find_first(state, identity_key, |seq| has_identity(&state.conn, seq, keys.identity))? {
        return count_duplicate(&state.conn, seq, event.received_at_ms);
    }
    let revision_of = match keys.call_key {
        Some(call) if event.revisable => {
            find_first(state, call, |seq| has_same_call_and_kind(&state.conn, seq, event))?
        }
        _ => None,
    };
    // Staged, not written: the row needs to know the place now, the bytes go to disk once per transaction.
    let location = (event.body.len() >= LARGE_BODY_BYTES).then(|| state.bodies.stage(event.body.clone()));
    let outcome = match insert_event(&state.conn, event, keys.identity, revision_of, location) {
        Ok(seq) => {
            match revision_of {
                None => state.staged_events.push(&state.conn, seq, event)?,
                Some(_) => state.staged_events.push_unkept(seq),
            }
            insert_recent_key(state, identity_key, seq)?;
            if let Some(call_key) = keys.call_key {
                insert_recent_key(state, call_key, seq)?;
            }
            Ok(AppendOutcome::Stored { revision: revision_of.is_some(), unparsed: event.unparsed })
        }
        Err(error) if error.is_retryable() => Err(error),
        // The statement rolled the whole transaction back, so there is none to insert the bare event into. The writer
        // notices and runs each job again in a separate transaction; a sender that sees this error gets 503 and sends
        // again.
        Err(error) if state.conn.is_autocommit() => Err(StoreError::unavailable(error.message())),
        Err(error) => insert_without_columns(state, event, keys.identity, location, error.message()),
    };
    state.appended_events += usize::from(outcome.is_ok());
    if outcome.is_err() && location.is_some() {
        // The transaction continues without this event. Its bytes would lie in front of the bodies that follow and
        // never be freed, because no row names them.
        state.bodies.unstage();
    }
    outcome
}

/// Appends an event while a receiver is running. The receiver's writer does not learn of the keys, so they go into
/// the index at once. Until its next start the receiver's filter does not know them either, and it would store the
/// same body as a new event. That is acceptable only for events that are never sent and whose body names the change
/// it describes.
pub(in crate::storage::sqlite) fn append_by_operator(
    conn: &Connection,
    event: &NewEvent,
    keys: EventKeys,
) -> Result<(), StoreError> {
    let seq = insert_event(conn, event, keys.identity, None, None)?;
    let mut insert = conn.prepare_cached("INSERT OR IGNORE INTO event_keys (key, seq) VALUES (?1, ?2)")?;
    for key in [Some(keys.identity.index_key()), keys.call_key].into_iter().flatten() {
        insert.execute(params![key, seq])?;
    }
    Ok(())
}

/// Stores an event whose columns SQLite does not accept: with its body and identity, and without the columns. It must
/// neither fail the other events of the transaction nor be lost itself: the sender would repeat it, to the same
/// effect.
fn insert_without_columns(
    state: &mut WriterContext,
    event: &NewEvent,
    identity: Identity,
    location: Option<BodyLocation>,
    reason: &str,
) -> Result<AppendOutcome, StoreError> {
    tracing::warn!(event_id = %event.id, error = reason, "event stored without columns");
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
    let seq = insert_event(&state.conn, &bare, identity, None, location)?;
    state.staged_events.push_unkept(seq);
    // Only the identity: without a call id in its row the event cannot be the first of a revision.
    insert_recent_key(state, identity.index_key(), seq)?;
    Ok(AppendOutcome::Stored { revision: false, unparsed: true })
}

/// Adds a key of a new event to the recent keys. They may still hold the key of an event that was purged or erased
/// since, possibly by another process: that event is gone, so the new one takes its place as the first with this key.
/// Otherwise a duplicate of the new event would be compared with the removed one, and stored again.
fn insert_recent_key(state: &mut WriterContext, key: i64, seq: Seq) -> Result<(), StoreError> {
    if let Some(first) = state.recent_keys.first_seq(key)
        && !state.conn.prepare_cached("SELECT 1 FROM events WHERE seq = ?1")?.exists([first])?
    {
        state.recent_keys.remove(key);
    }
    state.recent_keys.insert(key, seq);
    Ok(())
}

/// Checks that the store can be written. It writes and removes as much as a large event takes, because an empty
/// transaction succeeds on a full disk, and the same for a body file, because a large body needs both.
pub(in crate::storage::sqlite) fn probe(state: &mut WriterContext) -> Result<(), StoreError> {
    if let Some(refusal) = &state.intake_refusal {
        return Err(refusal.clone());
    }
    state.conn.prepare_cached("INSERT INTO probes (filler) VALUES (zeroblob(65536))")?.execute([])?;
    state.conn.prepare_cached("DELETE FROM probes")?.execute([])?;
    state.bodies.probe()
}

/// The first event with this key that `matches`. A key is half of a hash, so the row itself has to be compared.
fn find_first(
    state: &WriterContext,
    key: i64,
    matches: impl Fn(Seq) -> rusqlite::Result<bool>,
) -> Result<Option<Seq>, StoreError> {
    // The index first, because it holds the older events, and duplicates and revisions refer to the oldest. The filter
    // answers for nearly every new event; without it each append would read a random page of the index.
    if state.identity_filter.may_contain(key) {
        let mut look_up = state.conn.prepare_cached("SELECT seq FROM event_keys WHERE key = ?1 ORDER BY seq")?;
        let mut rows = look_up.query([key])?;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            if matches(seq)? {
                return Ok(Some(seq));
            }
        }
    }
    // An event is in memory until the mark `indexed_through` has passed it, so it is found in at least one of the two.
    match state.recent_keys.first_seq(key) {
        Some(seq) if matches(seq)? => Ok(Some(seq)),
        _ => Ok(None),
    }
}

/// Also true for an erased event, so that the same body is not stored again when Retell repeats it.
fn has_identity(conn: &Connection, seq: Seq, identity: Identity) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM events WHERE seq = ?1 AND identity = ?2
         UNION ALL SELECT 1 FROM erased WHERE seq = ?1 AND identity = ?2",
    )?
    .exists(params![seq, identity.0])
}

fn has_same_call_and_kind(conn: &Connection, seq: Seq, event: &NewEvent) -> rusqlite::Result<bool> {
    conn.prepare_cached("SELECT 1 FROM events WHERE seq = ?1 AND company_id = ?2 AND call_id = ?3 AND event = ?4")?
        .exists(params![seq, event.company_id, event.call_id, event.kind])
}

fn count_duplicate(conn: &Connection, seq: Seq, at_ms: i64) -> Result<AppendOutcome, StoreError> {
    let id = conn
        .prepare_cached("SELECT id FROM events WHERE seq = ?1 UNION ALL SELECT id FROM erased WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))?;
    conn.prepare_cached(
        // `SELECT … FROM events`: an erased event has no row there, and nothing is counted for it.
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
    revision_of: Option<Seq>,
    location: Option<BodyLocation>,
) -> Result<Seq, StoreError> {
    let state = if event.unparsed { EventState::Unparsed } else { EventState::Stored };
    conn.prepare_cached(
        "INSERT INTO events (id, identity, company_id, event, call_id, agent_id, received_at_ms, source, content_type,
           query, signature, key_fingerprint, origin, state, revision_of, size_bytes, dedupe_discriminator, late)
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
        event.content_type.as_deref().map(ContentTypeColumn),
        event.query,
        event.signature.as_deref().map(SignatureColumn),
        event.key_fingerprint,
        event.origin.code(),
        state.code(),
        revision_of,
        event.body.len(),
        event.dedupe_discriminator,
        time_range::is_late(event.id, event.received_at_ms).then_some(1),
    ])?;
    let seq = Seq(conn.last_insert_rowid());
    insert_body(conn, seq, &event.body, location)?;
    Ok(seq)
}

fn insert_body(conn: &Connection, seq: Seq, body: &[u8], location: Option<BodyLocation>) -> Result<(), StoreError> {
    match location {
        Some(BodyLocation { file_number, offset }) => conn
            .prepare_cached("INSERT INTO bodies (seq, file, at) VALUES (?1, ?2, ?3)")?
            .execute(params![seq, file_number, offset])?,
        None => conn.prepare_cached("INSERT INTO bodies (seq, body) VALUES (?1, ?2)")?.execute(params![seq, body])?,
    };
    Ok(())
}
