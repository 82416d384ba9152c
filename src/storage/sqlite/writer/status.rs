//! Figures about the writer.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use crate::base::histogram::Histogram;
use crate::storage::sqlite::worker_threads::ThreadWaker;
use crate::storage::{StoreError, StoreStats};

/// Upper bounds of the histogram `store_events_per_commit`.
const EVENTS_PER_COMMIT_BUCKETS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// Writes after which the checkpoint thread is woken; after fewer ones it waits for its next pass.
const WRITES_PER_CHECKPOINT: usize = 128;

/// Figures about the writer that other threads read without queueing for it.
pub(in crate::storage::sqlite) struct WriterStatus {
    /// Keys that are not in the index on disk yet, two per event.
    pub(in crate::storage::sqlite) unindexed_keys: AtomicUsize,
    /// Transactions so far, failed ones included. Unchanged between two checks means that the writer is idle.
    pub(in crate::storage::sqlite) transactions: AtomicI64,
    /// The checkpoint thread asks the writer to finish the checkpoint between two transactions.
    pub(in crate::storage::sqlite) checkpoint_requested: AtomicBool,
    pub(in crate::storage::sqlite) checkpoint_thread: ThreadWaker,
    /// Writes since the checkpoint thread was woken.
    writes: AtomicUsize,
    pub(in crate::storage::sqlite) appended_events: AtomicU64,
    /// Whether the latest transaction failed.
    unavailable: AtomicBool,
    /// Those of `transactions` that succeeded.
    successful_commits: AtomicU64,
    events_per_commit: Histogram,
}

impl Default for WriterStatus {
    fn default() -> Self {
        Self {
            unindexed_keys: AtomicUsize::default(),
            transactions: AtomicI64::default(),
            checkpoint_requested: AtomicBool::default(),
            checkpoint_thread: ThreadWaker::default(),
            writes: AtomicUsize::default(),
            appended_events: AtomicU64::default(),
            unavailable: AtomicBool::default(),
            successful_commits: AtomicU64::default(),
            events_per_commit: Histogram::new(&EVENTS_PER_COMMIT_BUCKETS),
        }
    }
}

impl WriterStatus {
    /// The part of [`StoreStats`] that needs no query.
    pub(in crate::storage::sqlite) fn stats(&self) -> StoreStats {
        StoreStats {
            commits: self.successful_commits.load(Ordering::Relaxed),
            events_per_commit: self.events_per_commit.counts(),
            unindexed_keys: self.unindexed_keys.load(Ordering::Relaxed) as u64,
            ..StoreStats::default()
        }
    }

    pub(super) fn record_transaction(&self, committed: &Result<(), StoreError>, appended: usize, writes: usize) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        if self.writes.fetch_add(writes, Ordering::Relaxed) + writes >= WRITES_PER_CHECKPOINT {
            self.writes.store(0, Ordering::Relaxed);
            self.checkpoint_thread.wake();
        }
        if committed.is_ok() {
            self.successful_commits.fetch_add(1, Ordering::Relaxed);
            if appended > 0 {
                self.appended_events.fetch_add(appended as u64, Ordering::Relaxed);
                self.events_per_commit.record(appended as u64);
            }
        }
    }

    /// Logs one line when the store becomes unavailable and one when it is available again. Retell repeats events
    /// that are answered 503, so a line per failed transaction would fill the log while the disk is full.
    pub(super) fn log_availability_change(&self, failure: Option<&StoreError>) {
        let was_unavailable = self.unavailable.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !was_unavailable => tracing::error!(%error, "store unavailable"),
            None if was_unavailable => tracing::info!("store available again"),
            _ => {}
        }
    }
}
