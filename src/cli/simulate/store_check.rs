//! Whether the store has what was acknowledged: every body once, its repetitions counted, revisions marked, the events of
//! a call in the order in which they were acknowledged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::super::output::CliError;
use super::scenario::Scenario;
use super::sender::SendOutcome;
use crate::event::EventKind;
use crate::storage::{EventFilter, EventSummary, Store};

/// A received time may be this much before the run began: clocks are set now and then.
const CLOCK_MARGIN_MS: i64 = 60_000;

/// Stands for the bytes of a body.
pub(super) type SentBodyDigest = [u8; 32];

pub(super) fn body_digest(body: &[u8]) -> SentBodyDigest {
    Sha256::digest(body).into()
}

/// What was sent, and what came of it.
#[derive(Clone)]
pub(super) struct SentEvent {
    pub(super) scenario: Scenario,
    pub(super) event: EventKind,
    /// Of the call or chat.
    pub(super) id: Arc<str>,
    pub(super) body_digest: SentBodyDigest,
    pub(super) is_revision: bool,
    pub(super) outcome: SendOutcome,
}

/// What the store has of a body.
#[derive(Clone)]
pub(super) struct StoredMatch {
    pub(super) seq: i64,
    pub(super) event: Option<String>,
    pub(super) id: Option<String>,
    pub(super) is_revision: bool,
    pub(super) duplicates: u64,
}

impl StoredMatch {
    fn from_summary(summary: &EventSummary) -> Self {
        Self {
            seq: summary.seq,
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

/// What was found.
#[derive(Default)]
pub(super) struct StoreComparison {
    /// Different bodies that were acknowledged, by scenario and event, and how many of them are there.
    pub(super) acknowledged_bodies: HashMap<(Scenario, EventKind), (u64, u64)>,
    pub(super) duplicates: u64,
    pub(super) revisions: u64,
    pub(super) problems: Vec<StoreProblem>,
}

/// The rows of the store that hold one of the bodies in `sent`, which was begun at `since_ms`.
pub(super) async fn find_stored(
    store: &impl Store,
    sent: &[SentEvent],
    company: &str,
    since_ms: i64,
) -> Result<HashMap<SentBodyDigest, Vec<StoredMatch>>, CliError> {
    let wanted: HashSet<_> = sent.iter().map(|sent| sent.body_digest).collect();
    let filter = EventFilter {
        company: Some(company.to_owned()),
        since_ms: Some(since_ms.saturating_sub(CLOCK_MARGIN_MS)),
        ..EventFilter::default()
    };
    let mut kept: HashMap<_, Vec<_>> = HashMap::new();
    // What arrives from now on is not ours, and could go on for ever.
    let newest = store.list_events(EventFilter { limit: Some(1), ..filter.clone() }).await?;
    let (mut after, through) = (0, newest.first().map_or(0, |event| event.seq));
    while after < through {
        // About 2 MiB at a time.
        let chunk = store.export_events(after, filter.clone()).await?;
        let Some(last) = chunk.last() else { break };
        after = last.summary.seq;
        for event in &chunk {
            let body = event.body.as_ref().map(|body| body_digest(body));
            if let Some(body) = body.ok().filter(|body| wanted.contains(body)) {
                kept.entry(body).or_default().push(StoredMatch::from_summary(&event.summary));
            }
        }
    }
    Ok(kept)
}

/// Compares. The events of a call are in `sent` in the order in which they were sent.
pub(super) fn compare(sent: &[SentEvent], kept: &HashMap<SentBodyDigest, Vec<StoredMatch>>) -> StoreComparison {
    let mut found = StoreComparison::default();
    let mut repeated: HashMap<SentBodyDigest, u64> = HashMap::new();
    for sent in sent.iter().filter(|sent| sent.outcome == SendOutcome::Duplicate) {
        *repeated.entry(sent.body_digest).or_default() += 1;
    }
    let mut seen = HashSet::new();
    let mut latest: HashMap<&str, i64> = HashMap::new();
    let mut originals = HashSet::new();
    for sent in sent.iter().filter(|sent| sent.outcome.is_acknowledged()) {
        if !seen.insert(sent.body_digest) {
            continue;
        }
        let is_later_body = !originals.insert((&*sent.id, sent.event)) && sent.is_revision;
        let rows = kept.get(&sent.body_digest).map_or(&[][..], Vec::as_slice);
        let count = found.acknowledged_bodies.entry((sent.scenario, sent.event)).or_default();
        count.0 += 1;
        count.1 += u64::from(!rows.is_empty());
        let times = repeated.get(&sent.body_digest).copied().unwrap_or(0);
        let wrong = match rows {
            [] => Some("acknowledged, but not in the store".to_owned()),
            [row] => {
                found.duplicates += row.duplicates;
                found.revisions += u64::from(row.is_revision);
                let before = latest.insert(&sent.id, row.seq);
                stored_event_problem(row, sent, is_later_body, times).or_else(|| {
                    before.filter(|seq| *seq > row.seq).map(|_| "stored before an earlier event".to_owned())
                })
            }
            more => Some(format!("stored {} times", more.len())),
        };
        if let Some(what) = wrong {
            found.problems.push(StoreProblem {
                scenario: sent.scenario,
                event: sent.event,
                id: Arc::clone(&sent.id),
                message: what,
            });
        }
    }
    found
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
        let (scenario, id) = (Scenario::Happy, Arc::from("call_test_1"));
        SentEvent { scenario, event, id, body_digest: [body; 32], is_revision: body == 9, outcome }
    }

    fn stored_match(event: &str, seq: i64) -> StoredMatch {
        let (event, id) = (Some(event.to_owned()), Some("call_test_1".to_owned()));
        StoredMatch { seq, event, id, is_revision: false, duplicates: 0 }
    }

    fn problems(sent: &[SentEvent], rows: Vec<(u8, StoredMatch)>) -> Vec<String> {
        let mut kept: HashMap<SentBodyDigest, Vec<StoredMatch>> = HashMap::new();
        for (body, row) in rows {
            kept.entry([body; 32]).or_default().push(row);
        }
        compare(sent, &kept).problems.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn what_is_there_once_in_order_is_fine() {
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
    fn everything_else_is_said() {
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
