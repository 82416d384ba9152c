//! The latest events that were read for planning, shared by the handlers that are at the same position in the journal.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::storage::{PlanEvents, StoreError};

/// How long events are kept. They hold personal data, which may be erased meanwhile.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Batches that are kept: handlers are at different positions, and some need the bodies.
const MAX_BATCHES: usize = 4;

/// What is read: up to `limit` events after a position.
#[derive(Clone, Copy)]
pub(in crate::storage::sqlite) struct PlanRead {
    pub(in crate::storage::sqlite) after: i64,
    pub(in crate::storage::sqlite) limit: usize,
    pub(in crate::storage::sqlite) bodies: bool,
    /// The number of changes of the store before the read.
    pub(in crate::storage::sqlite) changes: u64,
}

struct CachedBatch {
    read: PlanRead,
    events: PlanEvents,
    read_at: Instant,
}

impl CachedBatch {
    /// Whether the batch answers another read. Events do not change, so one that ended before the end of the journal
    /// always does.
    fn answers(&self, other: &PlanRead) -> bool {
        let reached_end = self.events.len() < self.read.limit;
        self.read.after == other.after
            && (self.read.limit == other.limit || (reached_end && self.events.len() < other.limit))
            && (self.read.bodies || !other.bodies)
            && (!reached_end || self.read.changes == other.changes)
    }
}

#[derive(Default)]
pub(in crate::storage::sqlite) struct PlanCache(Mutex<Vec<CachedBatch>>);

impl PlanCache {
    /// The events of `read`: those of an earlier read, or else what `load` returns. Reads wait for each other, so that
    /// handlers that are woken together share one.
    pub(in crate::storage::sqlite) async fn get(
        &self,
        read: PlanRead,
        load: impl Future<Output = Result<PlanEvents, StoreError>>,
    ) -> Result<PlanEvents, StoreError> {
        let mut batches = self.0.lock().await;
        batches.retain(|batch| batch.read_at.elapsed() < MAX_AGE);
        if let Some(batch) = batches.iter().find(|batch| batch.answers(&read)) {
            return Ok(PlanEvents::clone(&batch.events));
        }
        let events = load.await?;
        if batches.len() == MAX_BATCHES {
            batches.remove(0);
        }
        batches.push(CachedBatch { read, events: PlanEvents::clone(&events), read_at: Instant::now() });
        Ok(events)
    }

    /// Drops batches that are too old.
    pub(in crate::storage::sqlite) fn expire(&self) {
        if let Ok(mut batches) = self.0.try_lock() {
            batches.retain(|batch| batch.read_at.elapsed() < MAX_AGE);
        }
    }
}
