//! Identity index: finds older events by identity and by call. It is written behind intake (write-behind) in sorted
//! batches: neighboring keys share a page, so a batch rewrites each page once instead of once per event.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use crate::base::supervise::Supervisor;
use crate::storage::sqlite::identity::recent_keys::RecentKeys;
use crate::storage::sqlite::readers::ReaderPool;
use crate::storage::sqlite::writer::{StoreWriter, WriterContext};
use crate::storage::{Identity, IdentityKey, Seq, StoreError};

/// Recent keys (two per event) above which they are flushed to the index. Large enough that a flush changes most
/// pages several times at once; small enough for memory (about 20 MB) and for reading them back at start (a fraction
/// of a second).
const FLUSH_THRESHOLD_KEYS: usize = 262_144;
/// Keys per queued write, so that other writes wait less than two milliseconds for it.
const BATCH_KEYS: usize = 512;
/// Keys per queued write while the index is behind. A transaction admits at least one such write and at most 512
/// events with 1,024 keys, so the index catches up under any load.
const BATCH_KEYS_WHEN_BEHIND: usize = 2_048;
/// Keys removed from memory per queued write.
const EVICTION_BATCH_KEYS: usize = 4_096;
/// Keys read in one go for the filter, so that other reads and writes wait less than a millisecond for it.
const KEYS_PER_READ: i64 = 5_000;
const CHECK_INTERVAL: Duration = Duration::from_secs(4);

/// Rebuilds the recent keys from the end of the journal, which the index does not cover yet.
pub(in crate::storage::sqlite) fn load_recent_keys(
    conn: &Connection,
    key: &IdentityKey,
) -> rusqlite::Result<RecentKeys> {
    let mut recent = RecentKeys::default();
    // The mark was committed after the keys that it covers, so every event is in the index or in this range. After a
    // crash during a flush some are in both, which is harmless.
    let mut tail = conn.prepare(
        "SELECT seq, identity, company_id, call_id, event FROM events
         WHERE seq > (SELECT value FROM progress WHERE name = 'indexed_through') ORDER BY seq",
    )?;
    let mut rows = tail.query([])?;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        recent.insert(Identity(row.get(1)?).index_key(), seq);
        let company_id = row.get(2)?;
        let call_id = row.get_ref(3)?.as_str_or_null()?;
        let kind = row.get_ref(4)?.as_str_or_null()?;
        if let (Some(call_id), Some(kind)) = (call_id, kind) {
            recent.insert(key.call_key(company_id, call_id, kind), seq);
        }
    }
    recent.mark_committed();
    Ok(recent)
}

/// Starts the task that builds the identity filter, and flushes the recent keys when there are enough of them or the
/// store is idle.
pub(in crate::storage::sqlite) fn start(writer: &StoreWriter, readers: &ReaderPool, supervisor: &Supervisor) {
    let task = IndexTask { writer: writer.clone(), readers: readers.clone(), stop: supervisor.clone() };
    supervisor.spawn("store-index", task.run());
}

struct IndexTask {
    writer: StoreWriter,
    readers: ReaderPool,
    stop: Supervisor,
}

impl IndexTask {
    async fn run(self) {
        let mut is_build_due = true;
        let mut last_transactions = 0;
        while !self.stop.is_stopping() {
            if is_build_due {
                is_build_due = !self.build_filter().await;
            }
            tokio::select! {
                () = self.stop.wait_for_stop() => break,
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
            let transactions = self.writer.status.transactions.load(Ordering::Relaxed);
            let is_idle = transactions == last_transactions;
            last_transactions = transactions;
            let unindexed = self.writer.status.unindexed_keys.load(Ordering::Relaxed);
            // While idle even a few keys are flushed: it disturbs no one, and the next start has less to read.
            if unindexed >= FLUSH_THRESHOLD_KEYS || (unindexed > 0 && is_idle) {
                match flush(&self.writer).await {
                    Ok(is_filter_outgrown) => is_build_due |= is_filter_outgrown,
                    Err(error) => tracing::warn!(%error, "identity index flush failed"),
                }
                // The flush itself made transactions; they must not count as activity of others.
                last_transactions = self.writer.status.transactions.load(Ordering::Relaxed);
            }
        }
    }

    /// Builds the identity filter from the index. Returns whether it succeeded.
    async fn build_filter(&self) -> bool {
        let began = Instant::now();
        match self.try_build_filter().await {
            Ok(keys) => {
                tracing::debug!(keys, duration_ms = began.elapsed().as_millis(), "identity filter built");
                true
            }
            // A store that closes meanwhile needs no filter.
            Err(_) if self.stop.is_stopping() => true,
            Err(error) => {
                tracing::warn!(%error, "identity filter build failed");
                false
            }
        }
    }

    async fn try_build_filter(&self) -> Result<usize, StoreError> {
        let expected = self.readers.read(|reader| count_indexed_keys(&reader.conn)).await?;
        let begin = move |state: &mut WriterContext| {
            state.identity_filter.begin_build(expected);
            Ok(())
        };
        self.writer.write_background(1, begin).await?;
        let mut after = i64::MIN;
        let mut count = 0;
        while !self.stop.is_stopping() {
            let read_at = Instant::now();
            let keys = self.readers.read(move |reader| list_indexed_keys(&reader.conn, after)).await?;
            let Some(last) = keys.last() else {
                let finish = |state: &mut WriterContext| {
                    state.identity_filter.finish_build();
                    Ok(())
                };
                self.writer.write_background(1, finish).await?;
                break;
            };
            (after, count) = (*last, count + keys.len());
            let add = move |state: &mut WriterContext| {
                state.identity_filter.continue_build(&keys);
                Ok(())
            };
            self.writer.write_background(1, add).await?;
            // Half of the time at most: after a start, dispatch and intake need the threads as well.
            tokio::time::sleep(read_at.elapsed()).await;
        }
        Ok(count)
    }
}

/// About the number of keys in the index: two per event.
fn count_indexed_keys(conn: &Connection) -> Result<u64, StoreError> {
    let events: u64 = conn
        .prepare_cached(
            "SELECT max(0, (SELECT value FROM progress WHERE name = 'indexed_through')
               - (SELECT coalesce(min(seq), 0) FROM events))",
        )?
        .query_row([], |row| row.get(0))?;
    Ok(2 * events)
}

/// The next keys after `after`, at most [`KEYS_PER_READ`].
fn list_indexed_keys(conn: &Connection, after: i64) -> Result<Vec<i64>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT key FROM event_keys WHERE key > ?1 ORDER BY key LIMIT ?2")?;
    let keys = statement.query_map(params![after, KEYS_PER_READ], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Writes all committed recent keys to the index and removes them from memory. Repeating any part is harmless, so a
/// failure half-way needs no cleanup. Returns whether the identity filter has become too small.
pub(in crate::storage::sqlite) async fn flush(writer: &StoreWriter) -> Result<bool, StoreError> {
    let mut keys = writer.write(|state| Ok(state.recent_keys.committed_keys())).await?;
    let Some((_, through)) = keys.last().copied() else {
        return Ok(false);
    };
    // By key, the order of the index; `through` was taken before, while they were in the order of the journal.
    keys.sort_unstable();
    let mut remaining = &keys[..];
    while !remaining.is_empty() {
        let behind = writer.status.unindexed_keys.load(Ordering::Relaxed) > 2 * FLUSH_THRESHOLD_KEYS;
        let batch_size = if behind { BATCH_KEYS_WHEN_BEHIND } else { BATCH_KEYS };
        let (batch, rest) = remaining.split_at(remaining.len().min(batch_size));
        let batch = batch.to_vec();
        writer.write_background(batch.len(), move |state| insert_keys(state, &batch)).await?;
        remaining = rest;
    }
    let finish = move |state: &mut WriterContext| {
        set_indexed_through(&state.conn, through)?;
        Ok(state.identity_filter.is_outgrown())
    };
    let is_filter_outgrown = writer.write(finish).await?;
    // Only now, after the mark is committed, are the keys removed from memory. Until then both places hold them and
    // agree; in any other order an event could be in neither, and its duplicate would be stored again.
    while writer.write_background(BATCH_KEYS, move |state| evict_keys(state, through)).await? {}
    Ok(is_filter_outgrown)
}

fn insert_keys(state: &mut WriterContext, keys: &[(i64, Seq)]) -> Result<(), StoreError> {
    // OR IGNORE: after a failure or a crash the same keys are written again.
    let mut insert = state.conn.prepare_cached("INSERT OR IGNORE INTO event_keys (key, seq) VALUES (?1, ?2)")?;
    for (key, seq) in keys {
        insert.execute(params![key, seq])?;
        state.identity_filter.insert(*key);
    }
    Ok(())
}

fn set_indexed_through(conn: &Connection, through: Seq) -> Result<(), StoreError> {
    conn.execute("UPDATE progress SET value = ?1 WHERE name = 'indexed_through'", [through])?;
    Ok(())
}

#[allow(clippy::unnecessary_wraps, reason = "the signature of every job of the writer")]
fn evict_keys(state: &mut WriterContext, through: Seq) -> Result<bool, StoreError> {
    Ok(state.recent_keys.evict_through(through, EVICTION_BATCH_KEYS))
}
