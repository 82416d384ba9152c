//! Checks that the store holds everything that was acknowledged: every body once, with its duplicates counted and
//! revisions marked, and the events of a call in the order in which they were acknowledged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::scenario::Scenario;
use super::sender::SendOutcome;
use crate::event::EventKind;
use crate::storage::{EventFilter, EventSummary, Position, Store, StoreError};

/// Tolerance for receipt times before the start of the run, because clocks are sometimes adjusted.
const CLOCK_MARGIN_MS: i64 = 60_000;

/// SHA-256 of a body. It stands for the bytes, so that bodies need not be kept in memory.
pub(super) type SentBodyDigest = [u8; 32];

pub(super) fn body_digest(body: &[u8]) -> SentBodyDigest {
    Sha256::digest(body).into()
}

/// An event that was sent, and the outcome.
#[derive(Clone)]
pub(super) struct SentEvent {
    pub(super) scenario: Scenario,
    pub(super) event: EventKind,
    /// Id of the call or chat.
    pub(super) id: Arc<str>,
    pub(super) body_digest: SentBodyDigest,
    pub(super) is_revision: bool,
    pub(super) outcome: SendOutcome,
}

/// A row of the store that holds one of the sent bodies.
#[derive(Clone)]
pub(super) struct StoredMatch {
    pub(super) position: Position,
    pub(super) event: Option<String>,
    pub(super) id: Option<String>,
    pub(super) is_revision: bool,
    pub(super) duplicates: u64,
}

impl StoredMatch {
    fn from_summary(summary: &EventSummary) -> Self {
        Self {
            position: summary.position(),
            event: summary.kind.clone(),
            id: summary.call_id.clone(),
            is_revision: summary.revision_of.is_some(),
            duplicates: summary.duplicate_count,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreProblem {
    pub(super) scenario: Scenario,
    pub(super) event: EventKind,
    pub(super) id: Arc<str>,
    pub(super) message: String,
}

#[derive(Default)]
pub(super) struct StoreComparison {
    /// By scenario and event: number of different bodies that were acknowledged, and number of those in the store.
    pub(super) acknowledged_bodies: HashMap<(Scenario, EventKind), (u64, u64)>,
    pub(super) duplicates: u64,
    pub(super) revisions: u64,
    pub(super) problems: Vec<StoreProblem>,
}

/// Finds the rows that hold one of the bodies in `sent_events`. Rows received before `since_ms` are not read.
pub(super) async fn find_stored(
    store: &dyn Store,
    sent_events: &[SentEvent],
    company: &str,
    since_ms: i64,
) -> Result<HashMap<SentBodyDigest, Vec<StoredMatch>>, StoreError> {
    let sent_digests: HashSet<_> = sent_events.iter().map(|sent| sent.body_digest).collect();
    let filter = EventFilter {
        company: Some(company.to_owned()),
        since_ms: Some(since_ms.saturating_sub(CLOCK_MARGIN_MS)),
        ..EventFilter::default()
    };
    let mut stored: HashMap<_, Vec<_>> = HashMap::new();
    // Without this bound the loop might never end: other events can arrive faster than they are read.
    let newest = store.list_events(EventFilter { limit: Some(1), ..filter.clone() }).await?;
    let last = newest.first().map_or(Position::START, EventSummary::position);
    let mut after = Position::START;
    while after < last {
        // A chunk holds about 2 MiB of bodies.
        let chunk = store.export_events(after, filter.clone()).await?;
        let Some(last_read) = chunk.last() else { break };
        after = last_read.summary.position();
        for event in &chunk {
            let Ok(body) = &event.body else { continue };
            let digest = body_digest(body);
            if sent_digests.contains(&digest) {
                stored.entry(digest).or_default().push(StoredMatch::from_summary(&event.summary));
            }
        }
    }
    Ok(stored)
}

impl StoreComparison {
    /// Number of different bodies that were acknowledged, and number of those that are in the store.
    pub(super) fn totals(&self) -> (u64, u64) {
        let mut totals = (0, 0);
        for (acknowledged, stored) in self.acknowledged_bodies.values() {
            totals.0 += acknowledged;
            totals.1 += stored;
        }
        totals
    }
}

/// Compares the sent events with the rows of the store. `sent_events` must hold the events of each call in the order
/// in which they were sent.
pub(super) fn compare(
    sent_events: &[SentEvent],
    stored: &HashMap<SentBodyDigest, Vec<StoredMatch>>,
) -> StoreComparison {
    let mut comparison = StoreComparison::default();
    let mut duplicates_by_body: HashMap<SentBodyDigest, u64> = HashMap::new();
    for sent in sent_events.iter().filter(|sent| sent.outcome == SendOutcome::Duplicate) {
        *duplicates_by_body.entry(sent.body_digest).or_default() += 1;
    }
    let mut checked_bodies = HashSet::new();
    let mut last_position_of_call: HashMap<&str, Position> = HashMap::new();
    let mut originals = HashSet::new();
    for sent in sent_events.iter().filter(|sent| sent.outcome.is_acknowledged()) {
        // A repeated body has one row, which was checked with the first request.
        if !checked_bodies.insert(sent.body_digest) {
            continue;
        }
        // A revision needs an original that was acknowledged: without one, the store holds it as a normal event.
        let is_later_body = !originals.insert((&*sent.id, sent.event)) && sent.is_revision;
        let rows = stored.get(&sent.body_digest).map_or(&[][..], Vec::as_slice);
        let count = comparison.acknowledged_bodies.entry((sent.scenario, sent.event)).or_default();
        count.0 += 1;
        count.1 += u64::from(!rows.is_empty());
        let duplicates = duplicates_by_body.get(&sent.body_digest).copied().unwrap_or(0);
        let problem = match rows {
            [] => Some("acknowledged, but not in the store".to_owned()),
            [row] => {
                comparison.duplicates += row.duplicates;
                comparison.revisions += u64::from(row.is_revision);
                let previous = last_position_of_call.insert(&sent.id, row.position);
                let is_out_of_order = previous.is_some_and(|previous| previous > row.position);
                stored_event_problem(row, sent, is_later_body, duplicates)
                    .or_else(|| is_out_of_order.then(|| "stored before an earlier event".to_owned()))
            }
            rows => Some(format!("stored {} times", rows.len())),
        };
        if let Some(message) = problem {
            let id = Arc::clone(&sent.id);
            comparison.problems.push(StoreProblem { scenario: sent.scenario, event: sent.event, id, message });
        }
    }
    comparison
}

fn stored_event_problem(row: &StoredMatch, sent: &SentEvent, is_later_body: bool, duplicates: u64) -> Option<String> {
    if row.id.as_deref() != Some(&*sent.id) || row.event.as_deref() != Some(sent.event.as_str()) {
        return Some("stored under another name or id".to_owned());
    }
    if row.is_revision != is_later_body {
        return Some(if is_later_body { "not marked as a revision" } else { "marked as a revision" }.to_owned());
    }
    (row.duplicates < duplicates).then(|| format!("{} of {duplicates} duplicates counted", row.duplicates))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_event(event: EventKind, body: u8, outcome: SendOutcome) -> SentEvent {
        let id = Arc::from("call_test_1");
        SentEvent { scenario: Scenario::Happy, event, id, body_digest: [body; 32], is_revision: body == 9, outcome }
    }

    fn stored_match(event: &str, number: u64) -> StoredMatch {
        let id = Some("call_test_1".to_owned());
        let position = format!("pos_{number}").parse().unwrap();
        StoredMatch { position, event: Some(event.to_owned()), id, is_revision: false, duplicates: 0 }
    }

    fn problems(sent: &[SentEvent], rows: Vec<(u8, StoredMatch)>) -> Vec<String> {
        let mut stored: HashMap<SentBodyDigest, Vec<StoredMatch>> = HashMap::new();
        for (body, row) in rows {
            stored.entry([body; 32]).or_default().push(row);
        }
        compare(sent, &stored).problems.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn events_stored_once_and_in_order_are_no_problem() {
        use EventKind as K;
        let sent = [
            sent_event(K::CallStarted, 1, SendOutcome::Stored),
            sent_event(K::CallEnded, 2, SendOutcome::Stored),
            sent_event(K::CallEnded, 2, SendOutcome::Duplicate),
            sent_event(K::CallEnded, 9, SendOutcome::Stored),
            sent_event(K::CallAnalyzed, 3, SendOutcome::Rejected(401)),
        ];
        let second = StoredMatch { duplicates: 1, ..stored_match("call_ended", 5) };
        let revision = StoredMatch { is_revision: true, ..stored_match("call_ended", 6) };
        let rows = vec![(1, stored_match("call_started", 4)), (2, second), (9, revision)];
        assert_eq!(problems(&sent, rows), Vec::<String>::new());
    }

    #[test]
    fn missing_repeated_and_misplaced_events_are_problems() {
        let one = [sent_event(EventKind::CallEnded, 1, SendOutcome::Stored)];
        let twice = [one[0].clone(), sent_event(EventKind::CallEnded, 1, SendOutcome::Duplicate)];
        let two = [one[0].clone(), sent_event(EventKind::CallAnalyzed, 2, SendOutcome::Stored)];
        let revised = [one[0].clone(), sent_event(EventKind::CallEnded, 9, SendOutcome::Stored)];
        let row = || stored_match("call_ended", 7);
        assert_eq!(problems(&one, vec![]), ["acknowledged, but not in the store"]);
        assert_eq!(problems(&one, vec![(1, row()), (1, row())]), ["stored 2 times"]);
        assert_eq!(problems(&one, vec![(1, stored_match("call_started", 7))]), ["stored under another name or id"]);
        assert_eq!(problems(&one, vec![(1, StoredMatch { is_revision: true, ..row() })]), ["marked as a revision"]);
        assert_eq!(problems(&twice, vec![(1, row())]), ["0 of 1 duplicates counted"]);
        assert_eq!(
            problems(&revised, vec![(1, row()), (9, stored_match("call_ended", 8))]),
            ["not marked as a revision"]
        );
        let swapped = vec![(1, row()), (2, stored_match("call_analyzed", 6))];
        assert_eq!(problems(&two, swapped), ["stored before an earlier event"]);
    }
}
