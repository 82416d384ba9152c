//! The index of older events, written behind intake in sorted batches: neighbours in the index share a page, so a batch
//! rewrites each page once instead of once an event.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::identity_filter::IdentityFilter;
use super::recent_keys::RecentKeys;
use super::writer::{StoreWriter, WriterContext};
use crate::base::supervise::Supervisor;
use crate::storage::{Identity, IdentityKey, StoreError};

/// Write out when so many keys wait, two an event: large enough that a batch meets most pages several times, small enough
/// (about 20 MB of memory, a fraction of a second to read back at start).
const FLUSH_THRESHOLD_KEYS: usize = 262_144;
/// Rows of one request, so that others have their turn within two milliseconds; and while the index falls behind. One
/// request is in a transaction at least, with two keys for each of at most 512 events: so it catches up in the end.
const BATCH_KEYS: usize = 512;
const BATCH_KEYS_WHEN_BEHIND: usize = 2_048;
/// Keys that memory lets go of at once.
const EVICTION_BATCH_KEYS: usize = 4_096;
/// Events up to which the filter is filled at start: it reads every key of the index once.
const MAX_FILTERED_EVENTS: i64 = 8_000_000;
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// After so many looks without a commit the store counts as idle, and whatever waits is written.
const IDLE_CHECKS: u32 = 3;

/// Reads what the index does not know yet back from the journal's tail.
pub(super) fn load_recent_keys(conn: &Connection, key: &IdentityKey) -> rusqlite::Result<RecentKeys> {
    let mut recent = RecentKeys::default();
    let mut tail = conn.prepare(
        "SELECT seq, identity, company_id, call_id, event FROM events
         WHERE seq > (SELECT value FROM progress WHERE name = 'indexed_through') ORDER BY seq",
    )?;
    let mut rows = tail.query([])?;
    while let Some(row) = rows.next()? {
        let (company_id, call_id, event) =
            (row.get(2)?, row.get_ref(3)?.as_str_or_null()?, row.get_ref(4)?.as_str_or_null()?);
        let call = call_id.zip(event).map(|(call_id, event)| key.call_key(company_id, call_id, event));
        let seq = row.get(0)?;
        recent.insert(Identity(row.get(1)?).index_key(), seq);
        if let Some(call) = call {
            recent.insert(call, seq);
        }
    }
    recent.mark_committed();
    Ok(recent)
}

/// The filter over what the index holds. It is left out when reading that many keys would hold up the start.
pub(super) fn build_filter(conn: &Connection) -> rusqlite::Result<IdentityFilter> {
    let indexed: i64 =
        conn.query_row("SELECT value FROM progress WHERE name = 'indexed_through'", [], |row| row.get(0))?;
    let mut filter = IdentityFilter::new(indexed <= MAX_FILTERED_EVENTS);
    if indexed > MAX_FILTERED_EVENTS {
        return Ok(filter);
    }
    let mut keys = conn.prepare("SELECT key FROM event_keys")?;
    let mut rows = keys.query([])?;
    while let Some(row) = rows.next()? {
        filter.insert(row.get(0)?);
    }
    Ok(filter)
}

/// Writes the index from now on, whenever enough waits or the store is idle.
pub(super) fn start(writer: &StoreWriter, supervisor: &Supervisor) {
    let (writer, stop) = (writer.clone(), supervisor.clone());
    supervisor.spawn("store-index", async move {
        let (mut idle_looks, mut commits) = (0, 0);
        loop {
            tokio::select! {
                () = stop.wait_for_stop() => break,
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
            let now = writer.status.transactions.load(Ordering::Relaxed);
            idle_looks = if now == commits { idle_looks + 1 } else { 0 };
            commits = now;
            let waiting = writer.status.unindexed_keys.load(Ordering::Relaxed);
            if waiting >= FLUSH_THRESHOLD_KEYS || (waiting > 0 && idle_looks >= IDLE_CHECKS) {
                if let Err(error) = flush(&writer).await {
                    tracing::warn!(%error, "the index of older events could not be written; trying again");
                }
                (idle_looks, commits) = (0, writer.status.transactions.load(Ordering::Relaxed));
            }
        }
    });
}

/// Writes everything that waits. Repeating a part of it is harmless, so a failure half-way needs no clean-up.
pub(super) async fn flush(writer: &StoreWriter) -> Result<(), StoreError> {
    let mut keys = writer.write(|state| Ok(state.recent_keys.committed_keys())).await?;
    let Some((_, through)) = keys.last().copied() else {
        return Ok(());
    };
    keys.sort_unstable();
    let mut left = &keys[..];
    while !left.is_empty() {
        let behind = writer.status.unindexed_keys.load(Ordering::Relaxed) > 2 * FLUSH_THRESHOLD_KEYS;
        let (slice, rest) = left.split_at(left.len().min(if behind { BATCH_KEYS_WHEN_BEHIND } else { BATCH_KEYS }));
        let slice = slice.to_vec();
        writer.write_background(slice.len(), move |state| insert_keys(state, &slice)).await?;
        left = rest;
    }
    writer.write(move |state| set_indexed_through(&state.conn, through)).await?;
    // Only now that the mark is committed may memory forget: until then both know, and agree.
    while writer.write_background(BATCH_KEYS, move |state| evict_keys(state, through)).await? {}
    Ok(())
}

fn insert_keys(state: &mut WriterContext, slice: &[(i64, i64)]) -> Result<(), StoreError> {
    let mut insert = state.conn.prepare_cached("INSERT OR IGNORE INTO event_keys (key, seq) VALUES (?1, ?2)")?;
    for (key, seq) in slice {
        insert.execute(params![key, seq])?;
        state.identity_filter.insert(*key);
    }
    Ok(())
}

fn set_indexed_through(conn: &Connection, through: i64) -> Result<(), StoreError> {
    conn.execute("UPDATE progress SET value = ?1 WHERE name = 'indexed_through'", [through])?;
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "the shape every job of the writer has")]
fn evict_keys(state: &mut WriterContext, through: i64) -> Result<bool, StoreError> {
    Ok(state.recent_keys.evict_through(through, EVICTION_BATCH_KEYS))
}
