//! The task that compresses bodies in the background.
//!
//! It waits until many bodies are there, or none arrive any more: blocks of many bodies are smaller, and the events of a
//! call come together. Between two blocks it pauses, so that intake and handlers keep most of the time.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::params;

use super::compressor;
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::readers::{ReaderContext, ReaderPool};
use crate::storage::sqlite::wal::SyncState;
use crate::storage::sqlite::wal::checkpoint::{CheckpointMode, run_checkpoint};
use crate::storage::sqlite::writer::{StoreWriter, WriterContext};
use crate::storage::sqlite::{SqliteUrl, open, removal};
use crate::storage::{Seq, StoreError};

const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Waiting bytes above which all waiting bodies are compressed.
const MAX_WAITING_BYTES: u64 = 32 * 1024 * 1024;
/// Waiting bytes that are compressed when no event has arrived since the last check. Fewer would make small blocks.
const MIN_IDLE_BYTES: u64 = 256 * 1024;
/// Time after which a body is compressed in any case.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);
/// Pause after a block, as a multiple of the time that it took: while no events arrive, while some do, and while intake
/// needs the processor. In the last case more and more bodies wait.
const PAUSE_FACTOR_IDLE: u32 = 1;
const PAUSE_FACTOR: u32 = 3;
const PAUSE_FACTOR_BUSY: u32 = 30;
const BUSY_EVENTS_PER_SECOND: f64 = 2_000.0;
/// Free pages that stay in the database while events arrive: new bodies use them again. When the store is idle, fewer
/// stay, see `removal/space.rs`.
const FREE_PAGES_WHILE_BUSY: i64 = 16_384;
/// Longest time for which emptying the log may hold up the writer.
const EMPTY_LOG_TIMEOUT: Duration = Duration::from_millis(20);
/// Longer than a read takes that began before the compression: it may still use the original in a body file.
const READER_GRACE: Duration = Duration::from_secs(4);

/// The bodies that are not compressed yet, as far as they were counted.
#[derive(Default)]
struct Waiting {
    counted_through: Seq,
    bytes: u64,
    /// When the first of them was counted.
    since: Option<Instant>,
    /// Whether the first check was made, which counts what an earlier process has left.
    was_counted: bool,
    is_idle: bool,
}

/// Compresses the bodies of a store.
pub(in crate::storage::sqlite) struct CompressionTask {
    url: SqliteUrl,
    reader: ReaderPool,
    writer: StoreWriter,
    supervisor: Supervisor,
}

impl CompressionTask {
    pub(in crate::storage::sqlite) fn start(
        url: &SqliteUrl,
        writer: &StoreWriter,
        sync: &SyncState,
        supervisor: &Supervisor,
    ) -> Result<(), StoreError> {
        let task = Self::new(url, writer, sync, supervisor)?;
        supervisor.spawn("store-compression", task.run());
        Ok(())
    }

    pub(super) fn new(
        url: &SqliteUrl,
        writer: &StoreWriter,
        sync: &SyncState,
        supervisor: &Supervisor,
    ) -> Result<Self, StoreError> {
        // A separate thread: compressing takes longer than other readers should wait.
        let reader = ReaderPool::start(url, 1, sync, supervisor)?;
        Ok(Self { url: url.clone(), reader, writer: writer.clone(), supervisor: supervisor.clone() })
    }

    async fn run(self) {
        let mut waiting = Waiting::default();
        loop {
            waiting = match self.check(waiting).await {
                Ok(waiting) => waiting,
                Err(error) => {
                    tracing::warn!(%error, "body compression failed");
                    Waiting::default()
                }
            };
            if !self.pause(CHECK_INTERVAL).await {
                break;
            }
        }
    }

    /// Compresses what waits if it is time, and releases its space.
    async fn check(&self, waiting: Waiting) -> Result<Waiting, StoreError> {
        let mut waiting = self.reader.read(|reader| waiting.count_new(reader)).await?;
        if waiting.is_due() {
            self.compress_through(waiting.counted_through).await?;
            self.release_space(waiting.is_idle).await?;
            if waiting.is_idle {
                let url = self.url.clone();
                self.reader.read(move |reader| empty_log(&url, &reader.sync)).await?;
            }
            waiting = Waiting { bytes: 0, since: None, ..waiting };
        }
        Ok(waiting)
    }

    /// Compresses all waiting bodies up to `through`.
    pub(super) async fn compress_through(&self, through: Seq) -> Result<(), StoreError> {
        let mut after = Seq(0);
        let mut intake = IntakeRate::new(&self.writer);
        let next = move |after| move |reader: &ReaderContext| compressor::next_round(&reader.conn, after, through);
        while let Some(round) = self.reader.read(next(after)).await? {
            after = round.last_seq;
            for seqs in round.blocks {
                let started = Instant::now();
                self.compress_block(seqs).await?;
                if !self.pause(started.elapsed() * intake.pause_factor(&self.writer)).await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn compress_block(&self, seqs: Vec<Seq>) -> Result<(), StoreError> {
        let Some(block) = self.reader.read(move |reader| compressor::compress(reader, &seqs)).await? else {
            return Ok(());
        };
        let insert = move |state: &mut _| block.insert(state, Clock::system().now_ms());
        // One that was not inserted is made again in a later round.
        self.writer.write_background(compressor::MAX_BODIES_PER_BLOCK, insert).await.map(drop)
    }

    /// Returns the space of the originals: their places in body files, and free pages of the database.
    pub(super) async fn release_space(&self, is_idle: bool) -> Result<(), StoreError> {
        let freed_before_ms = Clock::system().now_ms().saturating_add(1);
        let has_freed = |reader: &ReaderContext| Ok(removal::has_freed_bodies(&reader.conn)?);
        if self.reader.read(has_freed).await? && self.pause(READER_GRACE).await {
            self.writer.write_background(1, |state| state.bodies.leave_unused_file(&state.conn)).await?;
            // Only the transaction after that one begins the new file.
            self.writer.write_background(1, |_| Ok(())).await?;
            while self.reclaim_bodies(freed_before_ms).await? {}
        }
        let min_free_pages = if is_idle { removal::MIN_FREE_PAGES } else { FREE_PAGES_WHILE_BUSY };
        loop {
            let started = Instant::now();
            let reclaim = move |state: &mut WriterContext| removal::reclaim_pages(&state.conn, min_free_pages);
            if !self.writer.write_background(compressor::MAX_BODIES_PER_BLOCK, reclaim).await?
                || !self.pause(started.elapsed()).await
            {
                return Ok(());
            }
        }
    }

    /// Reclaims one batch of places in body files, and returns whether there are more.
    async fn reclaim_bodies(&self, freed_before_ms: i64) -> Result<bool, StoreError> {
        let started = Instant::now();
        let reclaim = move |reader: &ReaderContext| {
            removal::reclaim_bodies(&reader.conn, &reader.bodies.files.folder, &reader.sync, freed_before_ms)
        };
        let reclaimed = self.reader.read(reclaim).await?;
        let has_more = removal::is_full_batch(&reclaimed);
        self.writer
            .write_background(compressor::MAX_BODIES_PER_BLOCK, move |state| {
                removal::delete_freed_rows(&state.conn, &reclaimed)
            })
            .await?;
        Ok(self.pause(started.elapsed()).await && has_more)
    }

    /// Returns `false` when the service stops.
    async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.supervisor.wait_for_stop() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }
}

/// Measures the rate of events between two blocks.
struct IntakeRate {
    measured_at: Instant,
    events: u64,
}

impl IntakeRate {
    fn new(writer: &StoreWriter) -> Self {
        Self { measured_at: Instant::now(), events: writer.status.appended_events.load(Ordering::Relaxed) }
    }

    fn pause_factor(&mut self, writer: &StoreWriter) -> u32 {
        let before = std::mem::replace(self, Self::new(writer));
        let new_events = u32::try_from(self.events - before.events).unwrap_or(u32::MAX);
        let seconds = self.measured_at.duration_since(before.measured_at).as_secs_f64();
        match new_events {
            0 => PAUSE_FACTOR_IDLE,
            events if f64::from(events) < BUSY_EVENTS_PER_SECOND * seconds => PAUSE_FACTOR,
            _ => PAUSE_FACTOR_BUSY,
        }
    }
}

impl Waiting {
    /// Counts the events that arrived since the last check.
    fn count_new(self, reader: &ReaderContext) -> Result<Self, StoreError> {
        let (last_seq, bytes): (Option<Seq>, u64) = reader
            .conn
            .prepare_cached(
                "SELECT max(e.seq), coalesce(sum(e.size_bytes), 0) FROM bodies b CROSS JOIN events e ON e.seq = b.seq
                 WHERE b.seq > ?1",
            )?
            .query_row(params![self.counted_through], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self {
            is_idle: last_seq.is_none() || !self.was_counted,
            was_counted: true,
            counted_through: last_seq.unwrap_or(self.counted_through),
            bytes: self.bytes + bytes,
            since: self.since.or_else(|| last_seq.map(|_| Instant::now())),
        })
    }

    fn is_due(&self) -> bool {
        self.bytes > MAX_WAITING_BYTES
            || (self.is_idle && self.bytes > MIN_IDLE_BYTES)
            || self.since.is_some_and(|since| since.elapsed() > MAX_WAIT)
    }
}

/// Empties the log, which would otherwise keep the size of the last burst. Tried once: a reader may prevent it.
fn empty_log(url: &SqliteUrl, sync: &SyncState) -> Result<(), StoreError> {
    let conn = open::open_checkpointer(url)?;
    conn.busy_timeout(EMPTY_LOG_TIMEOUT)?;
    run_checkpoint(&conn, url, sync, CheckpointMode::Truncate).map(drop)
}
