//! Counts and durations of the answers to inbound calls and text messages.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use enum_map::{Enum, EnumMap};
use serde::Serialize;

use crate::base::histogram::{Histogram, HistogramCounts};

/// The outcome of an inbound request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundOutcome {
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

    /// The outcome with this name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == name)
    }
}

/// Histogram bounds of the time from the request head to the answer, in microseconds.
const INBOUND_BUCKETS_MICROS: [u64; 12] =
    [1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

/// The counts of one receiver.
#[derive(Debug)]
pub(crate) struct InboundMetrics {
    by_outcome: EnumMap<InboundOutcome, AtomicU64>,
    answer_duration_micros: Histogram,
}

impl Default for InboundMetrics {
    fn default() -> Self {
        Self { by_outcome: EnumMap::default(), answer_duration_micros: Histogram::new(&INBOUND_BUCKETS_MICROS) }
    }
}

impl InboundMetrics {
    /// Counts an answer that was sent `duration` after its request head.
    pub(crate) fn record_answer(&self, outcome: InboundOutcome, duration: Duration) {
        self.by_outcome[outcome].fetch_add(1, Ordering::Relaxed);
        self.answer_duration_micros.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// The counts by outcome, including zeros.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = (InboundOutcome, u64)> {
        self.by_outcome.iter().map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
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
    fn an_answer_counts_under_its_outcome() {
        let counts = InboundMetrics::default();
        counts.record_answer(InboundOutcome::TimedOut, Duration::from_millis(3));
        let counted: Vec<_> = counts.snapshot().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(InboundOutcome::TimedOut, 1)]);
        assert_eq!(counts.answer_duration_micros().buckets[2], (5_000, 1));
    }
}
