//! The index of older events, written behind intake in sorted batches: neighbours in the index share a page, so a batch
//! rewrites each page once instead of once an event.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::filter::Filter;
use super::recent::{CallKey, Entry, Recent};
use super::writer::{WriteState, Writer};
use crate::base::supervise::Supervisor;
use crate::storage::{Identity, StoreError};

/// Write out when so many events wait: large enough that a batch meets most pages several times, small enough (about
/// 14 MB of memory, a fraction of a second to read back at start).
const THRESHOLD: usize = 65_536;
/// Rows in one transaction, so that intake's turn comes within milliseconds.
const SLICE: usize = 1_000;
/// Events up to which the filter is filled at start: it reads every key of the index once.
const FILTERED: i64 = 8_000_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so many looks without a commit the store counts as idle, and whatever waits is written.
const IDLE_LOOKS: u32 = 3;

/// Reads what the index does not know yet back from the journal's tail.
pub(super) fn rebuild(conn: &Connection) -> rusqlite::Result<Recent> {
    let mut recent = Recent::default();
    let mut tail = conn.prepare(
        "SELECT seq, identity, company_id, call_id, event FROM events
         WHERE seq > (SELECT value FROM progress WHERE name = 'indexed_through') ORDER BY seq",
    )?;
    let mut rows = tail.query([])?;
    while let Some(row) = rows.next()? {
        let (call_id, event): (Option<Box<str>>, Option<Box<str>>) = (row.get(3)?, row.get(4)?);
        let company_id = row.get(2)?;
        let call = call_id.zip(event).map(|(call_id, event)| Arc::new(CallKey { company_id, call_id, event }));
        recent.insert(Entry { seq: row.get(0)?, identity: Identity(row.get(1)?), call });
    }
    recent.begin();
    Ok(recent)
}

/// The filter over what the index holds. It is left out when reading that many keys would hold up the start.
pub(super) fn filter(conn: &Connection) -> rusqlite::Result<Filter> {
    let indexed: i64 =
        conn.query_row("SELECT value FROM progress WHERE name = 'indexed_through'", [], |row| row.get(0))?;
    let mut filter = Filter::new(indexed <= FILTERED);
    if indexed > FILTERED {
        return Ok(filter);
    }
    let mut identities = conn.prepare("SELECT identity FROM identities")?;
    let mut rows = identities.query([])?;
    while let Some(row) = rows.next()? {
        filter.insert(&Identity(row.get(0)?));
    }
    let mut calls = conn.prepare("SELECT DISTINCT company_id, call_id, event FROM call_events")?;
    let mut rows = calls.query([])?;
    while let Some(row) = rows.next()? {
        filter.insert(&CallKey { company_id: row.get(0)?, call_id: row.get(1)?, event: row.get(2)? });
    }
    Ok(filter)
}

/// Writes the index from now on, whenever enough waits or the store is idle.
pub(super) fn start(writer: &Writer, supervisor: &Supervisor) {
    let (writer, stop) = (writer.clone(), supervisor.clone());
    supervisor.spawn("store-index", async move {
        let (mut idle_looks, mut commits) = (0, 0);
        loop {
            tokio::select! {
                () = stop.stopping() => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = writer.shared.commits.load(Ordering::Relaxed);
            idle_looks = if now == commits { idle_looks + 1 } else { 0 };
            commits = now;
            let waiting = writer.shared.unindexed.load(Ordering::Relaxed);
            if waiting >= THRESHOLD || (waiting > 0 && idle_looks >= IDLE_LOOKS) {
                if let Err(error) = write_out(&writer).await {
                    tracing::warn!(%error, "the index of older events could not be written; trying again");
                }
                (idle_looks, commits) = (0, writer.shared.commits.load(Ordering::Relaxed));
            }
        }
    });
}

/// Writes everything that waits. Repeating a part of it is harmless, so a failure half-way needs no clean-up.
pub(super) async fn write_out(writer: &Writer) -> Result<(), StoreError> {
    let entries = writer.write(|state| Ok(state.recent.to_index())).await?;
    let Some(through) = entries.last().map(|entry| entry.seq) else {
        return Ok(());
    };
    let mut identities: Vec<_> = entries.iter().map(|entry| (entry.identity, entry.seq)).collect();
    identities.sort_unstable();
    for slice in identities.chunks(SLICE).map(<[_]>::to_vec) {
        writer.write(move |state| insert_identities(state, &slice)).await?;
    }
    let mut calls: Vec<_> = entries.into_iter().filter_map(|entry| Some((entry.call?, entry.seq))).collect();
    calls.sort_unstable();
    for slice in calls.chunks(SLICE).map(<[_]>::to_vec) {
        writer.write(move |state| insert_calls(state, &slice)).await?;
    }
    writer.write(move |state| mark(&state.conn, through)).await?;
    // Only now that the mark is committed may memory forget: until then both know, and agree.
    writer.write(move |state| forget(state, through)).await
}

fn insert_identities(state: &mut WriteState, slice: &[(Identity, i64)]) -> Result<(), StoreError> {
    let mut insert = state.conn.prepare_cached("INSERT OR IGNORE INTO identities (identity, seq) VALUES (?1, ?2)")?;
    for (identity, seq) in slice {
        insert.execute(params![identity.0, seq])?;
        state.filter.insert(identity);
    }
    Ok(())
}

fn insert_calls(state: &mut WriteState, slice: &[(Arc<CallKey>, i64)]) -> Result<(), StoreError> {
    let mut insert = state.conn.prepare_cached(
        "INSERT OR IGNORE INTO call_events (company_id, call_id, event, seq) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (call, seq) in slice {
        insert.execute(params![call.company_id, call.call_id, call.event, seq])?;
        state.filter.insert(&**call);
    }
    Ok(())
}

fn mark(conn: &Connection, through: i64) -> Result<(), StoreError> {
    conn.execute("UPDATE progress SET value = ?1 WHERE name = 'indexed_through'", [through])?;
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "the shape every job of the writer has")]
fn forget(state: &mut WriteState, through: i64) -> Result<(), StoreError> {
    state.recent.forget_through(through);
    Ok(())
}
