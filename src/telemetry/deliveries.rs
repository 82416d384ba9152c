//! Counts of delivery attempts by handler and outcome.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::histogram::{Histogram, HistogramCounts};

/// Histogram bounds of the attempt duration, in milliseconds.
const ATTEMPT_BUCKETS_MILLIS: [u64; 12] = [1, 5, 10, 25, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

/// The outcomes of one handler's deliveries since the start.
#[derive(Debug)]
pub(crate) struct DeliveryCounts {
    /// Attempts after which the delivery was done.
    pub succeeded: AtomicU64,
    /// Attempts after which the delivery was scheduled for a retry.
    pub scheduled: AtomicU64,
    /// Attempts after which the delivery became a dead letter.
    pub dead: AtomicU64,
    /// Deliveries that were skipped: without an attempt, or after one that found nothing to do.
    pub skipped: AtomicU64,
    /// Settlements that the store refused, because the lease had been lost during the attempt.
    pub late_settlements: AtomicU64,
    attempt_duration_millis: Histogram,
}

impl Default for DeliveryCounts {
    fn default() -> Self {
        Self {
            succeeded: AtomicU64::default(),
            scheduled: AtomicU64::default(),
            dead: AtomicU64::default(),
            skipped: AtomicU64::default(),
            late_settlements: AtomicU64::default(),
            attempt_duration_millis: Histogram::new(&ATTEMPT_BUCKETS_MILLIS),
        }
    }
}

impl DeliveryCounts {
    pub(crate) fn record_attempt_duration(&self, millis: u64) {
        self.attempt_duration_millis.record(millis);
    }

    #[must_use]
    pub(crate) fn attempt_duration_millis(&self) -> HistogramCounts {
        self.attempt_duration_millis.counts()
    }

    /// The numbers of attempts by outcome, as named in the metrics.
    #[must_use]
    pub(crate) fn attempts(&self) -> [(&'static str, u64); 3] {
        [("succeeded", &self.succeeded), ("scheduled", &self.scheduled), ("dead", &self.dead)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// The counts of all handlers started so far, by configured name. Counting takes no lock: each worker holds its own
/// [`DeliveryCounts`].
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryMetrics(Arc<Mutex<BTreeMap<String, Arc<DeliveryCounts>>>>);

impl DeliveryMetrics {
    /// The counts of one handler; they start at zero for a new name and continue for a restarted handler.
    #[must_use]
    pub(crate) fn for_handler(&self, name: &str) -> Arc<DeliveryCounts> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default())
    }

    #[must_use]
    pub(crate) fn by_handler(&self) -> BTreeMap<String, Arc<DeliveryCounts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
