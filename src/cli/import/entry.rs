//! One line of an export, and the id its event gets.

use std::collections::{BTreeSet, HashMap};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::base::clock::Clock;
use crate::base::id::{EventId, EventIds};
use crate::intake::Past;
use crate::security::signature::{Signature, Verifier};
use crate::storage::NewEvent;

/// Requests that come at the same time may be committed in another order than that of their ids, which is that of their
/// arrival. None waits longer than this.
const IN_TURN_MS: i64 = 10_000;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: Option<String>,
    company: String,
    received_at_ms: i64,
    #[serde(default)]
    headers: Headers,
    body_base64: String,
}

#[derive(Default, Deserialize)]
struct Headers {
    #[serde(rename = "content-type")]
    content_type: Option<String>,
    #[serde(rename = "x-retell-signature")]
    signature: Option<String>,
}

/// An event to store.
pub(super) struct Entry {
    /// Its id in the file, where there is a well-formed one.
    pub(super) id: Option<EventId>,
    pub(super) event: NewEvent,
}

/// Whose events may be imported.
pub(super) struct Company {
    pub(super) id: i64,
    /// Tells which of its keys made a signature.
    pub(super) verifier: Option<Verifier>,
}

/// Makes events of lines.
pub(super) struct Entries {
    clock: Clock,
    ids: EventIds,
    /// The newest id that was in the store before.
    before: Option<EventId>,
    /// Ids given so far, the last [`IN_TURN_MS`] of them.
    given: BTreeSet<EventId>,
    /// By slug.
    companies: HashMap<String, Company>,
}

impl Entries {
    pub(super) fn new(before: Option<EventId>, companies: HashMap<String, Company>) -> Self {
        Self { clock: Clock::system(), ids: EventIds::default(), before, given: BTreeSet::new(), companies }
    }

    /// The event of a line, or what is wrong with it, without anything that the line says.
    pub(super) fn read(&mut self, line: &[u8]) -> Result<Entry, String> {
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| format!("no line of an export, see column {}", error.column()))?;
        let unknown = || "it belongs to a company that is not in [[companies]]; add one with its slug".to_owned();
        let company = self.companies.get(&line.company).ok_or_else(unknown)?;
        let now_ms = self.clock.now_ms();
        if !(0..=now_ms).contains(&line.received_at_ms) {
            return Err("received_at_ms lies in the future, or before 1970".to_owned());
        }
        let body = BASE64_STANDARD.decode(&line.body_base64).map_err(|_| "body_base64 is no base64".to_owned())?;
        let id = line.id.as_deref().and_then(|id| id.parse().ok());
        let past = Past {
            company_id: company.id,
            received_at_ms: line.received_at_ms,
            content_type: line.headers.content_type,
            key_fingerprint: company.key(line.headers.signature.as_deref(), &body),
            signature: line.headers.signature,
            body: body.into(),
        };
        let kept = id.filter(|id| self.may_keep(*id, line.received_at_ms, now_ms));
        let id_here = kept.unwrap_or_else(|| self.new_id(line.received_at_ms));
        self.note(id_here);
        Ok(Entry { id, event: past.into_event(id_here) })
    }

    fn newest(&self) -> Option<EventId> {
        self.given.last().copied().or(self.before)
    }

    /// Ids ascend in the store, but for requests at the same time; none is older than its event; and none is used twice.
    fn may_keep(&self, id: EventId, received_at_ms: i64, now_ms: i64) -> bool {
        let in_turn_ms = self.newest().and_then(|newest| newest.made_at_ms()).unwrap_or(0) - IN_TURN_MS;
        let may_be = received_at_ms.max(in_turn_ms)..now_ms;
        id.made_at_ms().is_some_and(|made_at_ms| may_be.contains(&made_at_ms))
            && self.before.is_none_or(|before| before < id)
            && !self.given.contains(&id)
    }

    /// Right behind the newest, not as of now: what comes next in the file may then still keep its own.
    fn new_id(&self, received_at_ms: i64) -> EventId {
        let newest = self.newest();
        let newest_ms = newest.and_then(|newest| newest.made_at_ms()).unwrap_or(0);
        let id = self.ids.next(received_at_ms.max(newest_ms));
        if newest.is_none_or(|newest| newest < id) { id } else { self.ids.next(newest_ms + 1) }
    }

    fn note(&mut self, id: EventId) {
        self.given.insert(id);
        let newest_ms = self.newest().and_then(|newest| newest.made_at_ms()).unwrap_or(0);
        let in_turn = EventId::floor(newest_ms - IN_TURN_MS);
        while self.given.first().is_some_and(|oldest| *oldest < in_turn) {
            self.given.pop_first();
        }
    }
}

impl Company {
    fn key(&self, signature: Option<&str>, body: &[u8]) -> Option<String> {
        let signature = signature?.parse::<Signature>().ok()?;
        let fingerprint = self.verifier.as_ref()?.check_body(&signature, body).ok()?;
        Some(fingerprint.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(before: Option<EventId>) -> Entries {
        let company = Company { id: 1, verifier: None };
        Entries::new(before, HashMap::from([("default".to_owned(), company)]))
    }

    fn line(id: EventId, received_at_ms: i64) -> Vec<u8> {
        format!(r#"{{"id":"{id}","company":"default","received_at_ms":{received_at_ms},"body_base64":"e30="}}"#).into()
    }

    #[test]
    fn ids_are_kept_while_they_ascend() {
        let made = EventIds::default();
        let (first, second) = (made.next(1_790_000_000_000), made.next(1_790_000_000_500));
        let mut entries = reader(None);
        assert_eq!(entries.read(&line(first, 1_790_000_000_000)).unwrap().event.id, first);
        assert_eq!(entries.read(&line(second, 1_790_000_000_500)).unwrap().event.id, second);
        let late = entries.read(&line(first, 1_790_000_000_000)).unwrap();
        assert!(late.event.id > second && late.id == Some(first));
        assert_eq!(late.event.received_at_ms, 1_790_000_000_000);
    }

    #[test]
    fn requests_at_the_same_time_keep_their_ids_and_one_without_an_id_costs_the_others_nothing() {
        let made = EventIds::default();
        let ids: Vec<_> = [0, 0, 5, 7, 9].iter().map(|ms| made.next(1_790_000_000_000 + ms)).collect();
        let mut entries = reader(None);
        for position in [1, 0, 3, 2] {
            assert_eq!(entries.read(&line(ids[position], 1_790_000_000_000)).unwrap().event.id, ids[position]);
        }
        let nameless = br#"{"company":"default","received_at_ms":1790000000008,"body_base64":"e30="}"#;
        let new = entries.read(nameless).unwrap();
        assert!(new.id.is_none() && ids[3] < new.event.id && new.event.id < ids[4]);
        assert_eq!(entries.read(&line(ids[4], 1_790_000_000_000)).unwrap().event.id, ids[4]);
    }

    #[test]
    fn an_id_that_would_break_time_filters_is_not_kept() {
        let made = EventIds::default();
        let id = made.next(1_790_000_000_000);
        let mut entries = reader(None);
        assert_ne!(entries.read(&line(id, 1_790_000_000_001)).unwrap().event.id, id, "older than its event");
        let future = made.next(Clock::system().now_ms() + 3_600_000);
        assert!(entries.read(&line(future, 1_790_000_000_000)).unwrap().event.id < future);
        let mut behind = reader(Some(future));
        assert!(behind.read(&line(id, 1_790_000_000_000)).unwrap().event.id > future, "the clock was set back");
    }
}
