//! Counts of what handlers made of their events.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::histogram::{Histogram, HistogramCounts};

/// How long attempts take, in milliseconds.
const ATTEMPT_BUCKETS_MILLIS: [u64; 12] = [1, 5, 10, 25, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

/// The outcome that is counted without an attempt.
pub(crate) const SKIPPED: &str = "skipped";

/// What attempts at one handler's deliveries came to, since start.
#[derive(Debug)]
pub(crate) struct DeliveryCounts {
    /// The handler was done with the event.
    pub succeeded: AtomicU64,
    /// The event is to be tried again.
    pub scheduled: AtomicU64,
    /// The event was given up.
    pub dead: AtomicU64,
    /// No attempt is made.
    pub skipped: AtomicU64,
    attempt_duration_millis: Histogram,
}

impl Default for DeliveryCounts {
    fn default() -> Self {
        Self {
            succeeded: AtomicU64::default(),
            scheduled: AtomicU64::default(),
            dead: AtomicU64::default(),
            skipped: AtomicU64::default(),
            attempt_duration_millis: Histogram::new(&ATTEMPT_BUCKETS_MILLIS),
        }
    }
}

impl DeliveryCounts {
    /// An attempt took this long.
    pub(crate) fn record_attempt_duration(&self, millis: u64) {
        self.attempt_duration_millis.record(millis);
    }

    /// How long attempts took, in milliseconds.
    #[must_use]
    pub(crate) fn attempt_duration_millis(&self) -> HistogramCounts {
        self.attempt_duration_millis.counts()
    }

    /// The counts with their names.
    #[must_use]
    pub(crate) fn snapshot(&self) -> [(&'static str, u64); 4] {
        [("succeeded", &self.succeeded), ("scheduled", &self.scheduled), ("dead", &self.dead), (SKIPPED, &self.skipped)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// The counts of every handler that was started, by its configured name. Counting takes no lock: a worker holds its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryMetrics(Arc<Mutex<BTreeMap<String, Arc<DeliveryCounts>>>>);

impl DeliveryMetrics {
    /// The counts of one handler, from zero when it was not known.
    #[must_use]
    pub(crate) fn for_handler(&self, name: &str) -> Arc<DeliveryCounts> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default())
    }

    /// Every handler by name.
    #[must_use]
    pub(crate) fn by_handler(&self) -> BTreeMap<String, Arc<DeliveryCounts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
