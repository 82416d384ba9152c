//! Counts and durations of custom function requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use enum_map::{Enum, EnumMap};

use crate::base::histogram::{Histogram, HistogramCounts};

/// Histogram bounds of the time from the request head to the response, in microseconds.
const FUNCTION_BUCKETS_MICROS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// The outcome of a request for a custom function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum FunctionRequestOutcome {
    Answered,
    /// Answered before: the stored answer was sent.
    Duplicate,
    /// An equal request was running, and both got its answer.
    Shared,
    InvalidArguments,
    /// The function failed; the fallback was sent.
    Failed,
    /// No answer within the deadline; the fallback was sent.
    TimedOut,
    /// The ledger failed, so the function was not called; the fallback was sent.
    NotStored,
    /// Answered 401: the signature was used for another function or for an event before.
    SignatureReused,
}

impl FunctionRequestOutcome {
    /// The name in metrics, log and the `x-retell-webhook-outcome` header.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Duplicate => "duplicate",
            Self::Shared => "shared",
            Self::InvalidArguments => "invalid_arguments",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::NotStored => "not_stored",
            Self::SignatureReused => "signature_reused",
        }
    }
}

/// The counts of one function by outcome since the start.
#[derive(Debug, Default)]
pub(crate) struct FunctionCounts(EnumMap<FunctionRequestOutcome, AtomicU64>);

impl FunctionCounts {
    pub(crate) fn count(&self, outcome: FunctionRequestOutcome) {
        self.0[outcome].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts by outcome, including zeros.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = (FunctionRequestOutcome, u64)> {
        self.0.iter().map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
    }
}

/// The counts of all functions configured so far, by name.
#[derive(Clone, Debug)]
pub(crate) struct FunctionMetrics(Arc<FunctionMetricsInner>);

#[derive(Debug)]
struct FunctionMetricsInner {
    by_function: Mutex<BTreeMap<String, Arc<FunctionCounts>>>,
    request_duration_micros: Histogram,
    unknown_functions: AtomicU64,
    /// The latest call of a function at an address where it is not configured.
    address_warning: Mutex<Option<String>>,
}

impl Default for FunctionMetrics {
    fn default() -> Self {
        let inner = FunctionMetricsInner {
            by_function: Mutex::default(),
            request_duration_micros: Histogram::new(&FUNCTION_BUCKETS_MICROS),
            unknown_functions: AtomicU64::new(0),
            address_warning: Mutex::default(),
        };
        Self(Arc::new(inner))
    }
}

impl FunctionMetrics {
    /// The counts of one function; they start at zero for a new name and continue after a reload.
    #[must_use]
    pub(crate) fn for_function(&self, name: &str) -> Arc<FunctionCounts> {
        Arc::clone(
            self.0.by_function.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default(),
        )
    }

    #[must_use]
    pub(crate) fn by_function(&self) -> BTreeMap<String, Arc<FunctionCounts>> {
        self.0.by_function.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn record_duration(&self, duration: Duration) {
        self.0.request_duration_micros.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    #[must_use]
    pub(crate) fn request_duration_micros(&self) -> HistogramCounts {
        self.0.request_duration_micros.counts()
    }

    pub(crate) fn set_address_warning(&self, warning: Option<String>) {
        *self.0.address_warning.lock().unwrap_or_else(PoisonError::into_inner) = warning;
    }

    /// What an operator has to correct about the latest call of a function that is not configured.
    #[must_use]
    pub(crate) fn address_warning(&self) -> Option<String> {
        self.0.address_warning.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a signed request for a function that does not exist.
    pub(crate) fn count_unknown_function(&self) {
        self.0.unknown_functions.fetch_add(1, Ordering::Relaxed);
    }

    #[must_use]
    pub(crate) fn unknown_functions(&self) -> u64 {
        self.0.unknown_functions.load(Ordering::Relaxed)
    }
}
