//! The latest events that were read for planning, shared by the handlers that are at the same position in the journal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::storage::sqlite::writer::recent_events::RecentEvents;
use crate::storage::{PlanEvents, StoreChanges, StoreError};

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
    /// The changes of the store before the read.
    pub(in crate::storage::sqlite) changes: StoreChanges,
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
pub(in crate::storage::sqlite) struct PlanCache {
    batches: Mutex<Vec<CachedBatch>>,
    recent: Arc<RecentEvents>,
}

impl PlanCache {
    pub(in crate::storage::sqlite) fn new(recent: Arc<RecentEvents>) -> Self {
        Self { recent, ..Self::default() }
    }

    #[cfg(test)]
    pub(in crate::storage::sqlite) fn recent(&self) -> &RecentEvents {
        &self.recent
    }

    /// The events of `read`: those of an earlier read or in memory, or else what `load` returns. Reads wait for each other,
    /// so that handlers that are woken together share one.
    pub(in crate::storage::sqlite) async fn get(
        &self,
        read: PlanRead,
        load: impl Future<Output = Result<PlanEvents, StoreError>>,
    ) -> Result<PlanEvents, StoreError> {
        let mut batches = self.batches.lock().await;
        batches.retain(|batch| batch.read_at.elapsed() < MAX_AGE);
        if let Some(batch) = batches.iter().find(|batch| batch.answers(&read)) {
            return Ok(PlanEvents::clone(&batch.events));
        }
        let kept = self.recent.list_after(read.after, read.limit, read.bodies, read.changes.external);
        let events = match kept {
            Some(events) => events,
            None => load.await?,
        };
        if batches.len() == MAX_BATCHES {
            batches.remove(0);
        }
        batches.push(CachedBatch { read, events: PlanEvents::clone(&events), read_at: Instant::now() });
        Ok(events)
    }

    /// Drops events that are too old.
    pub(in crate::storage::sqlite) fn expire(&self) {
        self.recent.expire();
        if let Ok(mut batches) = self.batches.try_lock() {
            batches.retain(|batch| batch.read_at.elapsed() < MAX_AGE);
        }
    }
}
