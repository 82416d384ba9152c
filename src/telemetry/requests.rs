//! Counts of what happened to requests since start. Complete, whatever the log leaves out.
//!
//! Counting takes a few atomic additions: no lock, no allocation, whoever asks for the figures at the same time. (When
//! events came, [`Activity`], is kept under a lock of its own.)

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::activity::Activity;
use crate::base::histogram::{Histogram, HistogramCounts};
use crate::event::EventKind;

/// Which of the published metrics a label belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterGroup {
    /// Events by what became of them.
    Outcome,
    /// Requests answered 401, by reason.
    Rejected,
    /// Requests whose body could not be taken in, by reason.
    Unreadable,
}

/// Every count there is; the label is the index.
const COUNTERS: [(CounterGroup, &str); 16] = [
    (CounterGroup::Outcome, "stored"),
    (CounterGroup::Outcome, "duplicate"),
    (CounterGroup::Outcome, "revision"),
    (CounterGroup::Outcome, "unparsed"),
    (CounterGroup::Outcome, "not_stored"),
    (CounterGroup::Rejected, "not_on_allowlist"),
    (CounterGroup::Rejected, "missing"),
    (CounterGroup::Rejected, "malformed"),
    (CounterGroup::Rejected, "stale_past"),
    (CounterGroup::Rejected, "stale_future"),
    (CounterGroup::Rejected, "no_key_matched"),
    (CounterGroup::Rejected, "signature_reused"),
    (CounterGroup::Unreadable, "too_large"),
    (CounterGroup::Unreadable, "body_timeout"),
    (CounterGroup::Unreadable, "cut_off"),
    (CounterGroup::Unreadable, "no_room"),
];

/// The known kinds, and the unknown.
const EVENT_KIND_COUNT: usize = EventKind::ALL.len() + 1;

/// From the head of a request to its answer, in microseconds; Retell gives up after 10 s.
const INTAKE_BUCKETS_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

const BODY_SIZE_BUCKETS_BYTES: [u64; 9] =
    [256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];

/// Counters of one receiver. Not global: two receivers in a process count apart.
#[derive(Debug)]
pub struct RequestCounters {
    by_label: [AtomicU64; COUNTERS.len()],
    /// Of the outcomes, by kind of event.
    events_by_kind: [[AtomicU64; EVENT_KIND_COUNT]; COUNTERS.len()],
    intake_duration_micros: Histogram,
    body_size_bytes: Histogram,
    activity: Activity,
}

impl Default for RequestCounters {
    fn default() -> Self {
        Self {
            by_label: Default::default(),
            events_by_kind: Default::default(),
            intake_duration_micros: Histogram::new(&INTAKE_BUCKETS_MICROS),
            body_size_bytes: Histogram::new(&BODY_SIZE_BUCKETS_BYTES),
            activity: Activity::default(),
        }
    }
}

impl RequestCounters {
    /// Counts one. A label that does not exist is a programming error, and ignored.
    pub fn count(&self, label: &str) {
        if let Some(at) = counter_index(label) {
            self.by_label[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts what became of an authenticated event of this kind and size, `took` after the head of its request.
    pub fn count_event(&self, outcome: &str, kind: EventKind, size_bytes: usize, took: Duration) {
        if let Some(at) = counter_index(outcome) {
            self.by_label[at].fetch_add(1, Ordering::Relaxed);
            self.events_by_kind[at][kind_index(kind)].fetch_add(1, Ordering::Relaxed);
        }
        self.intake_duration_micros.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.body_size_bytes.record(size_bytes as u64);
    }

    /// All counts by label: accepted events (`stored`, `duplicate`, `revision`, `unparsed`), events that could not be
    /// kept (`not_stored`), refused requests by reason, requests whose body could not be taken in by reason.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        COUNTERS.iter().zip(&self.by_label).map(|((_, label), count)| (*label, count.load(Ordering::Relaxed))).collect()
    }

    /// The counts of one group by label.
    pub fn by_group(&self, group: CounterGroup) -> impl Iterator<Item = (&'static str, u64)> {
        let all = COUNTERS.iter().zip(&self.by_label).filter(move |((of, _), _)| *of == group);
        all.map(|((_, label), count)| (*label, count.load(Ordering::Relaxed)))
    }

    /// Events by what became of them and by kind, zeros included.
    pub fn events_by_kind(&self) -> impl Iterator<Item = (&'static str, EventKind, u64)> {
        let outcomes =
            COUNTERS.iter().zip(&self.events_by_kind).filter(|((group, _), _)| *group == CounterGroup::Outcome);
        outcomes.flat_map(|((_, outcome), counts)| {
            let kinds = EventKind::ALL.into_iter().chain([EventKind::Unknown]);
            kinds.zip(counts).map(|(kind, count)| (*outcome, kind, count.load(Ordering::Relaxed)))
        })
    }

    /// The sum of a group's counts.
    #[must_use]
    pub fn total(&self, group: CounterGroup) -> u64 {
        self.by_group(group).map(|(_, count)| count).sum()
    }

    /// When events came, by company and agent.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// How long events took from the head of their request to its answer, in microseconds.
    #[must_use]
    pub fn intake_duration_micros(&self) -> HistogramCounts {
        self.intake_duration_micros.counts()
    }

    /// How large the bodies of events were.
    #[must_use]
    pub fn body_size_bytes(&self) -> HistogramCounts {
        self.body_size_bytes.counts()
    }
}

fn counter_index(label: &str) -> Option<usize> {
    COUNTERS.iter().position(|(_, known)| *known == label)
}

fn kind_index(kind: EventKind) -> usize {
    // The unit variants count from 0 in the order of `ALL`; `Unknown` comes last.
    (kind as usize).min(EVENT_KIND_COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::signature::SignatureError;

    #[test]
    fn every_refusal_has_a_counter() {
        let counters = RequestCounters::default();
        let refusals = [
            SignatureError::MissingHeader,
            SignatureError::MalformedHeader,
            SignatureError::Stale(1),
            SignatureError::Stale(-1),
            SignatureError::NoKeyMatched,
        ];
        for refusal in refusals {
            counters.count(refusal.label());
            assert_eq!(counters.snapshot()[refusal.label()], 1);
        }
        assert_eq!(counters.by_group(CounterGroup::Rejected).map(|(_, count)| count).sum::<u64>(), 5);
    }

    #[test]
    fn every_kind_of_event_counts_apart() {
        let counters = RequestCounters::default();
        let kinds = || EventKind::ALL.into_iter().chain([EventKind::Unknown]);
        for (times, kind) in (1..).zip(kinds()) {
            (0..times).for_each(|_| counters.count_event("revision", kind, 300, Duration::from_millis(2)));
        }
        let counted: Vec<_> = counters.events_by_kind().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(counted, (1..).zip(kinds()).map(|(times, kind)| ("revision", kind, times)).collect::<Vec<_>>());
        let all = counters.snapshot()["revision"];
        assert_eq!(counters.body_size_bytes().sum, 300 * all);
        assert_eq!(counters.intake_duration_micros().buckets[2], (2_500, all));
    }
}
