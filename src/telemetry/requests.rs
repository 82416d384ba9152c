//! Counts of webhook requests since the start. They are complete even when the log suppresses lines.
//!
//! Counting costs a few atomic additions, without locks or allocations. Only [`Activity`] takes a short lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use enum_map::{Enum, EnumMap};

use super::activity::Activity;
use crate::base::histogram::{Histogram, HistogramCounts};
use crate::base::unreadable_reason::UnreadableReason;
use crate::base::unrouted_reason::UnroutedReason;
use crate::event::EventKind;
use crate::security::rejection_reason::RejectionReason;

/// What happened to an authenticated event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum IntakeOutcome {
    Stored,
    /// The same event was stored before.
    Duplicate,
    /// Another body of an event that was stored before.
    Revision,
    /// Stored, but the body has no columns: it is not a JSON object, or the database did not accept its values.
    Unparsed,
    NotStored,
}

impl IntakeOutcome {
    /// The name in metrics and log.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Revision => "revision",
            Self::Unparsed => "unparsed",
            Self::NotStored => "not_stored",
        }
    }
}

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
    events: EnumMap<IntakeOutcome, [AtomicU64; EVENT_KIND_COUNT]>,
    rejected: EnumMap<RejectionReason, AtomicU64>,
    unreadable: EnumMap<UnreadableReason, AtomicU64>,
    unrouted: EnumMap<UnroutedReason, AtomicU64>,
    intake_duration_micros: Histogram,
    body_size_bytes: Histogram,
    activity: Activity,
}

impl Default for RequestCounters {
    fn default() -> Self {
        Self {
            events: EnumMap::default(),
            rejected: EnumMap::default(),
            unreadable: EnumMap::default(),
            unrouted: EnumMap::default(),
            intake_duration_micros: Histogram::new(&INTAKE_BUCKETS_MICROS),
            body_size_bytes: Histogram::new(&BODY_SIZE_BUCKETS_BYTES),
            activity: Activity::default(),
        }
    }
}

impl RequestCounters {
    /// Counts a request that was answered 401 or 403.
    pub(crate) fn count_rejected(&self, reason: RejectionReason) {
        self.rejected[reason].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request whose body could not be read.
    pub(crate) fn count_unreadable(&self, reason: UnreadableReason) {
        self.unreadable[reason].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that no route takes.
    pub(crate) fn count_unrouted(&self, reason: UnroutedReason) {
        self.unrouted[reason].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an authenticated event whose outcome was known `duration` after its request head.
    pub(crate) fn count_event(&self, outcome: IntakeOutcome, kind: EventKind, size_bytes: usize, duration: Duration) {
        self.events[outcome][kind_index(kind)].fetch_add(1, Ordering::Relaxed);
        self.intake_duration_micros.record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        self.body_size_bytes.record(size_bytes as u64);
    }

    /// Returns all counts by label: stored events (`stored`, `duplicate`, `revision`, `unparsed`), events that could
    /// not be stored (`not_stored`), rejected requests, requests with an unreadable body, and requests that no route
    /// takes, each by reason.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        let events = self.events.iter().map(|(outcome, _)| (outcome.as_str(), self.events(outcome)));
        let rejected = self.rejected().map(|(reason, count)| (reason.as_str(), count));
        let unreadable = self.unreadable().map(|(reason, count)| (reason.as_str(), count));
        let unrouted = self.unrouted().map(|(reason, count)| (reason.as_str(), count));
        events.chain(rejected).chain(unreadable).chain(unrouted).collect()
    }

    /// Returns the number of events with this outcome.
    pub(crate) fn events(&self, outcome: IntakeOutcome) -> u64 {
        self.events[outcome].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Returns the counts of events by outcome and kind, including zeros.
    pub(crate) fn events_by_kind(&self) -> impl Iterator<Item = (IntakeOutcome, EventKind, u64)> {
        self.events.iter().flat_map(|(outcome, counts)| {
            let kinds = EventKind::ALL.into_iter().chain([EventKind::Unknown]);
            kinds.zip(counts).map(move |(kind, count)| (outcome, kind, count.load(Ordering::Relaxed)))
        })
    }

    /// Returns the counts of rejected requests, including zeros.
    pub(crate) fn rejected(&self) -> impl Iterator<Item = (RejectionReason, u64)> {
        self.rejected.iter().map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }

    /// Returns the counts of requests with an unreadable body, including zeros.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = (UnreadableReason, u64)> {
        self.unreadable.iter().map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }

    /// Returns the counts of requests that no route takes, including zeros.
    pub(crate) fn unrouted(&self) -> impl Iterator<Item = (UnroutedReason, u64)> {
        self.unrouted.iter().map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
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

fn kind_index(kind: EventKind) -> usize {
    // The discriminants start at 0 and follow the order of `ALL`; `Unknown` comes last.
    (kind as usize).min(EVENT_KIND_COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_and_unreadable_requests_are_counted_by_reason() {
        let counters = RequestCounters::default();
        counters.count_rejected(RejectionReason::StalePast);
        counters.count_unreadable(UnreadableReason::NoRoom);
        let counted = counters.snapshot().into_iter().filter(|(_, count)| *count > 0);
        assert_eq!(counted.collect::<Vec<_>>(), [("no_room", 1), ("stale_past", 1)]);
        assert_eq!(counters.snapshot().len(), 19);
    }

    #[test]
    fn every_event_kind_has_its_own_counter() {
        let counters = RequestCounters::default();
        let kinds = || EventKind::ALL.into_iter().chain([EventKind::Unknown]);
        for (times, kind) in (1..).zip(kinds()) {
            (0..times).for_each(|_| counters.count_event(IntakeOutcome::Revision, kind, 300, Duration::from_millis(2)));
        }
        let counted: Vec<_> = counters.events_by_kind().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(
            counted,
            (1..).zip(kinds()).map(|(times, kind)| (IntakeOutcome::Revision, kind, times)).collect::<Vec<_>>()
        );
        let all = counters.events(IntakeOutcome::Revision);
        assert_eq!(counters.body_size_bytes().sum, 300 * all);
        assert_eq!(counters.intake_duration_micros().buckets[2], (2_500, all));
    }
}
