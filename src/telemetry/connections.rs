//! Counts of connections to the main listener.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Connections that are open, and those that were closed to make room for others.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    open: AtomicUsize,
    limit: AtomicUsize,
    closed_at_limit: AtomicU64,
}

impl ConnectionCounters {
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn set_open(&self, open: usize) {
        self.open.store(open, Ordering::Relaxed);
    }

    pub(crate) fn count_closed_at_limit(&self) {
        self.closed_at_limit.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The maximum of [`open`](Self::open); 0 before the listener is served.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn closed_at_limit(&self) -> u64 {
        self.closed_at_limit.load(Ordering::Relaxed)
    }
}
