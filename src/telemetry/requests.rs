//! Counts of webhook requests since the start. They are complete even when the log suppresses lines.
//!
//! Counting costs a few atomic additions, without locks or allocations. Only [`Activity`] takes a short lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::activity::Activity;
use crate::base::histogram::{Histogram, HistogramCounts};
use crate::event::EventKind;

/// The metric that a counter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterGroup {
    /// Authenticated events by outcome: stored or not, and how.
    Outcome,
    /// Rejected requests by reason: answered 401, or 403 for `not_on_allowlist`.
    Rejected,
    /// Requests whose body could not be read, by reason.
    Unreadable,
}

/// All counters. A counter's position here is its index in the arrays below.
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

/// The known event kinds plus `Unknown`.
const EVENT_KIND_COUNT: usize = EventKind::ALL.len() + 1;

/// Histogram bounds of the time from the request head to the response, in microseconds; Retell gives up after 10 s.
const INTAKE_BUCKETS_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

const BODY_SIZE_BUCKETS_BYTES: [u64; 9] =
    [256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216];

/// The counters of one receiver. They are not global: two receivers in one process count separately.
#[derive(Debug)]
pub struct RequestCounters {
    by_label: [AtomicU64; COUNTERS.len()],
    /// The counters of the group [`CounterGroup::Outcome`] by event kind; the rows of other groups stay zero.
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
    /// Counts one request. An unknown label is a programming error and is ignored.
    pub fn count(&self, label: &str) {
        if let Some(index) = counter_index(label) {
            self.by_label[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an authenticated event whose outcome was known `duration` after its request head.
    pub fn count_event(&self, outcome: &str, kind: EventKind, size_bytes: usize, duration: Duration) {
        if let Some(index) = counter_index(outcome) {
            self.by_label[index].fetch_add(1, Ordering::Relaxed);
            self.events_by_kind[index][kind_index(kind)].fetch_add(1, Ordering::Relaxed);
        }
        self.intake_duration_micros.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        self.body_size_bytes.record(size_bytes as u64);
    }

    /// Returns all counts by label: stored events (`stored`, `duplicate`, `revision`, `unparsed`), events that could
    /// not be stored (`not_stored`), rejected requests by reason, and requests with an unreadable body by reason.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        COUNTERS.iter().zip(&self.by_label).map(|((_, label), count)| (*label, count.load(Ordering::Relaxed))).collect()
    }

    /// Returns the counts of one group by label.
    pub fn by_group(&self, group: CounterGroup) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = COUNTERS.iter().zip(&self.by_label);
        let of_group = counters.filter(move |((counter_group, _), _)| *counter_group == group);
        of_group.map(|((_, label), count)| (*label, count.load(Ordering::Relaxed)))
    }

    /// Returns the counts of events by outcome and kind, including zeros.
    pub fn events_by_kind(&self) -> impl Iterator<Item = (&'static str, EventKind, u64)> {
        let outcomes =
            COUNTERS.iter().zip(&self.events_by_kind).filter(|((group, _), _)| *group == CounterGroup::Outcome);
        outcomes.flat_map(|((_, outcome), counts)| {
            let kinds = EventKind::ALL.into_iter().chain([EventKind::Unknown]);
            kinds.zip(counts).map(|(kind, count)| (*outcome, kind, count.load(Ordering::Relaxed)))
        })
    }

    /// Returns the sum of the counts of one group.
    #[must_use]
    pub fn total(&self, group: CounterGroup) -> u64 {
        self.by_group(group).map(|(_, count)| count).sum()
    }

    /// The hourly event counts by company and agent.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Distribution of the time from the request head of an event to its response, in microseconds.
    #[must_use]
    pub fn intake_duration_micros(&self) -> HistogramCounts {
        self.intake_duration_micros.counts()
    }

    /// Distribution of the body sizes of events, in bytes.
    #[must_use]
    pub fn body_size_bytes(&self) -> HistogramCounts {
        self.body_size_bytes.counts()
    }
}

fn counter_index(label: &str) -> Option<usize> {
    COUNTERS.iter().position(|(_, known)| *known == label)
}

fn kind_index(kind: EventKind) -> usize {
    // The discriminants start at 0 and follow the order of `ALL`; `Unknown` comes last.
    (kind as usize).min(EVENT_KIND_COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::signature::SignatureError;

    #[test]
    fn every_rejection_reason_has_a_counter() {
        let counters = RequestCounters::default();
        let reasons = [
            SignatureError::MissingHeader,
            SignatureError::MalformedHeader,
            SignatureError::Stale(1),
            SignatureError::Stale(-1),
            SignatureError::NoKeyMatched,
        ];
        for reason in reasons {
            counters.count(reason.label());
            assert_eq!(counters.snapshot()[reason.label()], 1);
        }
        assert_eq!(counters.by_group(CounterGroup::Rejected).map(|(_, count)| count).sum::<u64>(), 5);
    }

    #[test]
    fn every_event_kind_has_its_own_counter() {
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
