//! Counts of the rows that retention removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows removed since the start by kind. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemovedCounts(Arc<RemovedRowCounts>);

#[derive(Debug, Default)]
struct RemovedRowCounts {
    events: AtomicU64,
    deliveries: AtomicU64,
    attempts: AtomicU64,
    calls: AtomicU64,
    rejected: AtomicU64,
}

impl RemovedCounts {
    /// Adds removed rows of a kind. An unknown kind is a programming error and is ignored.
    pub(crate) fn add(&self, kind: &str, rows: u64) {
        if let Some((_, count)) = self.by_kind().into_iter().find(|(name, _)| *name == kind) {
            count.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// The counts by kind, as named in the metrics.
    #[must_use]
    pub(crate) fn snapshot(&self) -> [(&'static str, u64); 5] {
        self.by_kind().map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    fn by_kind(&self) -> [(&'static str, &AtomicU64); 5] {
        let counts = &*self.0;
        [
            ("events", &counts.events),
            ("deliveries", &counts.deliveries),
            ("attempts", &counts.attempts),
            ("calls", &counts.calls),
            ("rejected", &counts.rejected),
        ]
    }
}
