//! Whether the store has what was acknowledged: every body once, its repetitions counted, revisions marked, the events of
//! a call in the order in which they were acknowledged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::super::output::Failure;
use super::courier::Outcome;
use super::scenario::Scenario;
use crate::event::EventKind;
use crate::storage::{EventFilter, EventSummary, Store};

/// A received time may be this much before the run began: clocks are set now and then.
const MARGIN_MS: i64 = 60_000;

/// Stands for the bytes of a body.
pub(super) type Digest = [u8; 32];

pub(super) fn digest(body: &[u8]) -> Digest {
    Sha256::digest(body).into()
}

/// What was sent, and what came of it.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) scenario: Scenario,
    pub(super) event: EventKind,
    /// Of the call or chat.
    pub(super) id: Arc<str>,
    pub(super) body: Digest,
    pub(super) revises: bool,
    pub(super) outcome: Outcome,
}

/// What the store has of a body.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) seq: i64,
    pub(super) event: Option<String>,
    pub(super) id: Option<String>,
    pub(super) is_revision: bool,
    pub(super) duplicates: u64,
}

impl Kept {
    fn of(summary: &EventSummary) -> Self {
        Self {
            seq: summary.seq,
            event: summary.event.clone(),
            id: summary.call_id.clone(),
            is_revision: summary.revision_of.is_some(),
            duplicates: summary.duplicates,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) scenario: Scenario,
    pub(super) event: EventKind,
    pub(super) id: Arc<str>,
    pub(super) what: String,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// Different bodies that were acknowledged, by scenario and event, and how many of them are there.
    pub(super) bodies: HashMap<(Scenario, EventKind), (u64, u64)>,
    pub(super) duplicates: u64,
    pub(super) revisions: u64,
    pub(super) problems: Vec<Problem>,
}

/// The rows of the store that hold one of the bodies in `sent`, which was begun at `since_ms`.
pub(super) async fn look_up(
    store: &impl Store,
    sent: &[Sent],
    company: &str,
    since_ms: i64,
) -> Result<HashMap<Digest, Vec<Kept>>, Failure> {
    let wanted: HashSet<_> = sent.iter().map(|sent| sent.body).collect();
    let filter = EventFilter {
        company: Some(company.to_owned()),
        since_ms: Some(since_ms.saturating_sub(MARGIN_MS)),
        ..EventFilter::default()
    };
    let mut kept: HashMap<_, Vec<_>> = HashMap::new();
    // What arrives from now on is not ours, and could go on for ever.
    let newest = store.events(EventFilter { limit: Some(1), ..filter.clone() }).await?;
    let (mut after, through) = (0, newest.first().map_or(0, |event| event.seq));
    while after < through {
        // About 2 MiB at a time.
        let chunk = store.export(after, filter.clone()).await?;
        let Some(last) = chunk.last() else { break };
        after = last.summary.seq;
        for event in &chunk {
            let body = event.body.as_ref().map(|body| digest(body));
            if let Some(body) = body.ok().filter(|body| wanted.contains(body)) {
                kept.entry(body).or_default().push(Kept::of(&event.summary));
            }
        }
    }
    Ok(kept)
}

/// Compares. The events of a call are in `sent` in the order in which they were sent.
pub(super) fn compare(sent: &[Sent], kept: &HashMap<Digest, Vec<Kept>>) -> Found {
    let mut found = Found::default();
    let mut repeated: HashMap<Digest, u64> = HashMap::new();
    for sent in sent.iter().filter(|sent| sent.outcome == Outcome::Duplicate) {
        *repeated.entry(sent.body).or_default() += 1;
    }
    let mut seen = HashSet::new();
    let mut latest: HashMap<&str, i64> = HashMap::new();
    let mut originals = HashSet::new();
    for sent in sent.iter().filter(|sent| sent.outcome.is_acknowledged()) {
        if !seen.insert(sent.body) {
            continue;
        }
        let is_later_body = !originals.insert((&*sent.id, sent.event)) && sent.revises;
        let rows = kept.get(&sent.body).map_or(&[][..], Vec::as_slice);
        let count = found.bodies.entry((sent.scenario, sent.event)).or_default();
        count.0 += 1;
        count.1 += u64::from(!rows.is_empty());
        let times = repeated.get(&sent.body).copied().unwrap_or(0);
        let wrong = match rows {
            [] => Some("acknowledged, but not in the store".to_owned()),
            [row] => {
                found.duplicates += row.duplicates;
                found.revisions += u64::from(row.is_revision);
                let before = latest.insert(&sent.id, row.seq);
                wrong_with(row, sent, is_later_body, times).or_else(|| {
                    before.filter(|seq| *seq > row.seq).map(|_| "stored before an earlier event".to_owned())
                })
            }
            more => Some(format!("stored {} times", more.len())),
        };
        if let Some(what) = wrong {
            found.problems.push(Problem { scenario: sent.scenario, event: sent.event, id: Arc::clone(&sent.id), what });
        }
    }
    found
}

fn wrong_with(row: &Kept, sent: &Sent, is_later_body: bool, duplicates: u64) -> Option<String> {
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

    fn sent(event: EventKind, body: u8, outcome: Outcome) -> Sent {
        let (scenario, id) = (Scenario::Happy, Arc::from("call_test_1"));
        Sent { scenario, event, id, body: [body; 32], revises: body == 9, outcome }
    }

    fn kept(event: &str, seq: i64) -> Kept {
        let (event, id) = (Some(event.to_owned()), Some("call_test_1".to_owned()));
        Kept { seq, event, id, is_revision: false, duplicates: 0 }
    }

    fn problems(sent: &[Sent], rows: Vec<(u8, Kept)>) -> Vec<String> {
        let mut kept: HashMap<Digest, Vec<Kept>> = HashMap::new();
        for (body, row) in rows {
            kept.entry([body; 32]).or_default().push(row);
        }
        compare(sent, &kept).problems.into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn what_is_there_once_in_order_is_fine() {
        use EventKind as K;
        let sent = [
            sent(K::CallStarted, 1, Outcome::Stored),
            sent(K::CallEnded, 2, Outcome::Stored),
            sent(K::CallEnded, 2, Outcome::Duplicate),
            sent(K::CallEnded, 9, Outcome::Stored),
            sent(K::CallAnalyzed, 3, Outcome::Refused(401)),
        ];
        let second = Kept { duplicates: 1, ..kept("call_ended", 5) };
        let revision = Kept { is_revision: true, ..kept("call_ended", 6) };
        let rows = vec![(1, kept("call_started", 4)), (2, second), (9, revision)];
        assert_eq!(problems(&sent, rows), Vec::<String>::new());
    }

    #[test]
    fn everything_else_is_said() {
        let one = [sent(EventKind::CallEnded, 1, Outcome::Stored)];
        let twice = [one[0].clone(), sent(EventKind::CallEnded, 1, Outcome::Duplicate)];
        let two = [one[0].clone(), sent(EventKind::CallAnalyzed, 2, Outcome::Stored)];
        let revised = [one[0].clone(), sent(EventKind::CallEnded, 9, Outcome::Stored)];
        let row = || kept("call_ended", 7);
        assert_eq!(problems(&one, vec![]), ["acknowledged, but not in the store"]);
        assert_eq!(problems(&one, vec![(1, row()), (1, row())]), ["stored 2 times"]);
        assert_eq!(problems(&one, vec![(1, kept("call_started", 7))]), ["stored under another name or id"]);
        assert_eq!(problems(&one, vec![(1, Kept { is_revision: true, ..row() })]), ["marked as a revision"]);
        assert_eq!(problems(&twice, vec![(1, row())]), ["0 of 1 duplicates counted"]);
        assert_eq!(problems(&revised, vec![(1, row()), (9, kept("call_ended", 8))]), ["not marked as a revision"]);
        let swapped = vec![(1, row()), (2, kept("call_analyzed", 6))];
        assert_eq!(problems(&two, swapped), ["stored before an earlier event"]);
    }
}
