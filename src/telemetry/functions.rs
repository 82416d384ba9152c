//! Counts of what became of custom functions' invocations.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::histogram::{Histogram, Measured};

/// From the head of a request to its answer, in microseconds.
const MICROS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// What can become of a request for a function.
pub const OUTCOMES: [&str; 8] =
    ["answered", "replayed", "shared", "invalid", "failed", "late", "not_stored", "reused_signature"];

/// The counts of one function, since start.
#[derive(Debug, Default)]
pub struct FunctionCounts([AtomicU64; OUTCOMES.len()]);

impl FunctionCounts {
    /// Counts one. An outcome that does not exist is a programming error, and ignored.
    pub fn count(&self, outcome: &str) {
        if let Some(at) = OUTCOMES.iter().position(|known| *known == outcome) {
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts with their names.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// The counts of every function that was configured, by its name.
#[derive(Clone, Debug)]
pub struct FunctionMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    counts: Mutex<BTreeMap<String, Arc<FunctionCounts>>>,
    micros: Histogram,
    unknown: AtomicU64,
}

impl Default for FunctionMetrics {
    fn default() -> Self {
        let inner = Inner { counts: Mutex::default(), micros: Histogram::new(&MICROS), unknown: AtomicU64::new(0) };
        Self(Arc::new(inner))
    }
}

impl FunctionMetrics {
    /// The counts of one function, from zero when it was not known.
    #[must_use]
    pub fn function(&self, name: &str) -> Arc<FunctionCounts> {
        Arc::clone(self.0.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default())
    }

    /// Every function by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Arc<FunctionCounts>> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A request took so long.
    pub fn record(&self, took: Duration) {
        self.0.micros.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How long requests took, in microseconds.
    #[must_use]
    pub fn micros(&self) -> Measured {
        self.0.micros.measured()
    }

    /// A request named no function there is.
    pub fn count_unknown(&self) {
        self.0.unknown.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that named none there is.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.0.unknown.load(Ordering::Relaxed)
    }
}
