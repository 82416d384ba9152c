//! Counts and durations of the answers to inbound calls and text messages.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::histogram::{Histogram, HistogramCounts};

/// The outcome of an inbound request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InboundOutcome {
    /// A rule, a target or a closure answered.
    Answered,
    /// A rule, a target or a closure rejected the caller.
    CallerRejected,
    /// No rule matched: the empty answer leaves everything as configured in Retell.
    Empty,
    /// The target or closure failed; the fallback was sent.
    Failed,
    /// The answer of the target or closure was not valid; the fallback was sent.
    InvalidAnswer,
    /// No answer within the deadline; the fallback was sent.
    TimedOut,
    /// The request is a duplicate and received the stored answer.
    Duplicate,
    /// The request could not be stored within the deadline; the fallback was sent.
    NotStored,
}

impl InboundOutcome {
    const ALL: [Self; 8] = [
        Self::Answered,
        Self::CallerRejected,
        Self::Empty,
        Self::Failed,
        Self::InvalidAnswer,
        Self::TimedOut,
        Self::Duplicate,
        Self::NotStored,
    ];

    /// The name in metrics, log and the store (`inbound_answers.outcome`).
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::CallerRejected => "caller_rejected",
            Self::Empty => "empty",
            Self::Failed => "failed",
            Self::InvalidAnswer => "invalid_answer",
            Self::TimedOut => "timed_out",
            Self::Duplicate => "duplicate",
            Self::NotStored => "not_stored",
        }
    }
}

/// Histogram bounds of the time from the request head to the answer, in microseconds.
const INBOUND_BUCKETS_MICROS: [u64; 12] =
    [1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

/// The counts of one receiver.
#[derive(Debug)]
pub(crate) struct InboundMetrics {
    by_outcome: [AtomicU64; InboundOutcome::ALL.len()],
    answer_duration_micros: Histogram,
}

impl Default for InboundMetrics {
    fn default() -> Self {
        Self { by_outcome: Default::default(), answer_duration_micros: Histogram::new(&INBOUND_BUCKETS_MICROS) }
    }
}

impl InboundMetrics {
    /// Counts an answer that was sent `duration` after its request head.
    pub(crate) fn record_answer(&self, outcome: InboundOutcome, duration: Duration) {
        // The discriminants start at 0 and follow the order of `ALL`.
        self.by_outcome[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.answer_duration_micros.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// The counts by outcome, including zeros.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.by_outcome.iter().map(|count| count.load(Ordering::Relaxed));
        InboundOutcome::ALL.iter().map(|outcome| outcome.as_str()).zip(counts)
    }

    #[must_use]
    pub(crate) fn answer_duration_micros(&self) -> HistogramCounts {
        self.answer_duration_micros.counts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_counts_under_its_own_name() {
        let counts = InboundMetrics::default();
        for (times, outcome) in (1..).zip(InboundOutcome::ALL) {
            (0..times).for_each(|_| counts.record_answer(outcome, Duration::from_millis(3)));
        }
        let names = InboundOutcome::ALL.map(InboundOutcome::as_str);
        assert_eq!(counts.snapshot().collect::<Vec<_>>(), names.into_iter().zip(1..).collect::<Vec<_>>());
        assert_eq!(counts.answer_duration_micros().buckets[2], (5_000, 36));
    }
}
