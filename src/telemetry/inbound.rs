//! Counts of what inbound calls and text messages were answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::histogram::{Histogram, Measured};

/// What came of an inbound request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboundOutcome {
    /// A rule, a service or a closure answered.
    Rule,
    /// One of them turned the caller away.
    Rejected,
    /// Nothing was to be said: go on as configured in Retell.
    Empty,
    /// Something went wrong; the fallback was sent.
    Fallback,
    /// The answer broke the contract; the fallback was sent.
    Invalid,
    /// There was no answer in time; the fallback was sent.
    Late,
    /// The request came again and got its answer again.
    Repeated,
    /// The request could not be stored before its answer was due; the fallback was sent.
    NotStored,
}

impl InboundOutcome {
    const ALL: [Self; 8] = [
        Self::Rule,
        Self::Rejected,
        Self::Empty,
        Self::Fallback,
        Self::Invalid,
        Self::Late,
        Self::Repeated,
        Self::NotStored,
    ];

    /// Its name in metrics, log lines and the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Rejected => "rejected",
            Self::Empty => "empty",
            Self::Fallback => "fallback",
            Self::Invalid => "invalid",
            Self::Late => "late",
            Self::Repeated => "repeated",
            Self::NotStored => "not_stored",
        }
    }
}

/// From the head of a request to its answer, in microseconds.
const MICROS: [u64; 12] =
    [1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

/// Counters of one receiver.
#[derive(Debug)]
pub struct InboundCounts {
    by_outcome: [AtomicU64; InboundOutcome::ALL.len()],
    micros: Histogram,
}

impl Default for InboundCounts {
    fn default() -> Self {
        Self { by_outcome: Default::default(), micros: Histogram::new(&MICROS) }
    }
}

impl InboundCounts {
    /// Counts an answer, `took` after the head of its request.
    pub fn count(&self, outcome: InboundOutcome, took: Duration) {
        // The variants count from 0 in the order of `ALL`.
        self.by_outcome[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.micros.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Answers by outcome, zeros included.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.by_outcome.iter().map(|count| count.load(Ordering::Relaxed));
        InboundOutcome::ALL.iter().map(|outcome| outcome.as_str()).zip(counts)
    }

    /// How long answers took, in microseconds.
    #[must_use]
    pub fn micros(&self) -> Measured {
        self.micros.measured()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_counts_under_its_own_name() {
        let counts = InboundCounts::default();
        for (times, outcome) in (1..).zip(InboundOutcome::ALL) {
            (0..times).for_each(|_| counts.count(outcome, Duration::from_millis(3)));
        }
        let names = InboundOutcome::ALL.map(InboundOutcome::as_str);
        assert_eq!(counts.read().collect::<Vec<_>>(), names.into_iter().zip(1..).collect::<Vec<_>>());
        assert_eq!(counts.micros().buckets[2], (5_000, 36));
    }
}
