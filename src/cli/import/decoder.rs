//! One line of an export, and the id its event gets.

use std::collections::{BTreeSet, HashMap};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::base::clock::Clock;
use crate::base::id::{EventId, EventIdGenerator};
use crate::intake::ImportedEvent;
use crate::security::signature::{Signature, Verifier};
use crate::storage::NewEvent;

/// Requests that come at the same time may be committed in another order than that of their ids, which is that of their
/// arrival. None waits longer than this.
const ID_REORDER_WINDOW_MS: i64 = 10_000;

#[derive(Deserialize)]
struct ImportLine {
    #[serde(default)]
    id: Option<String>,
    company: String,
    received_at_ms: i64,
    #[serde(default)]
    headers: ImportHeaders,
    body_base64: String,
}

#[derive(Default, Deserialize)]
struct ImportHeaders {
    #[serde(rename = "content-type")]
    content_type: Option<String>,
    #[serde(rename = "x-retell-signature")]
    signature: Option<String>,
}

/// An event to store.
pub(super) struct ImportRecord {
    /// Its id in the file, where there is a well-formed one.
    pub(super) original_id: Option<EventId>,
    pub(super) event: NewEvent,
}

/// Whose events may be imported.
pub(super) struct ImportCompany {
    pub(super) id: i64,
    /// Tells which of its keys made a signature.
    pub(super) verifier: Option<Verifier>,
}

/// Makes events of lines.
pub(super) struct ImportDecoder {
    clock: Clock,
    ids: EventIdGenerator,
    /// The newest id that was in the store before.
    newest_before: Option<EventId>,
    /// Ids given so far, the last [`IN_TURN_MS`] of them.
    recent_ids: BTreeSet<EventId>,
    /// By slug.
    companies: HashMap<String, ImportCompany>,
}

impl ImportDecoder {
    pub(super) fn new(before: Option<EventId>, companies: HashMap<String, ImportCompany>) -> Self {
        Self {
            clock: Clock::system(),
            ids: EventIdGenerator::default(),
            newest_before: before,
            recent_ids: BTreeSet::new(),
            companies,
        }
    }

    /// The event of a line, or what is wrong with it, without anything that the line says.
    pub(super) fn decode(&mut self, line: &[u8]) -> Result<ImportRecord, String> {
        let line: ImportLine = serde_json::from_slice(line)
            .map_err(|error| format!("no line of an export, see column {}", error.column()))?;
        let unknown = || "it belongs to a company that is not in [[companies]]; add one with its slug".to_owned();
        let company = self.companies.get(&line.company).ok_or_else(unknown)?;
        let now_ms = self.clock.now_ms();
        if !(0..=now_ms).contains(&line.received_at_ms) {
            return Err("received_at_ms lies in the future, or before 1970".to_owned());
        }
        let body = BASE64_STANDARD.decode(&line.body_base64).map_err(|_| "body_base64 is no base64".to_owned())?;
        let id = line.id.as_deref().and_then(|id| id.parse().ok());
        let past = ImportedEvent {
            company_id: company.id,
            received_at_ms: line.received_at_ms,
            content_type: line.headers.content_type,
            key_fingerprint: company.key_fingerprint(line.headers.signature.as_deref(), &body),
            signature: line.headers.signature,
            body: body.into(),
        };
        let kept = id.filter(|id| self.can_keep_id(*id, line.received_at_ms, now_ms));
        let id_here = kept.unwrap_or_else(|| self.new_id(line.received_at_ms));
        self.insert_id(id_here);
        Ok(ImportRecord { original_id: id, event: past.into_new_event(id_here) })
    }

    fn newest_id(&self) -> Option<EventId> {
        self.recent_ids.last().copied().or(self.newest_before)
    }

    /// Ids ascend in the store, but for requests at the same time; none is older than its event; and none is used twice.
    fn can_keep_id(&self, id: EventId, received_at_ms: i64, now_ms: i64) -> bool {
        let in_turn_ms = self.newest_id().and_then(|newest| newest.created_at_ms()).unwrap_or(0) - ID_REORDER_WINDOW_MS;
        let may_be = received_at_ms.max(in_turn_ms)..now_ms;
        id.created_at_ms().is_some_and(|made_at_ms| may_be.contains(&made_at_ms))
            && self.newest_before.is_none_or(|before| before < id)
            && !self.recent_ids.contains(&id)
    }

    /// Right behind the newest, not as of now: what comes next in the file may then still keep its own.
    fn new_id(&self, received_at_ms: i64) -> EventId {
        let newest = self.newest_id();
        let newest_ms = newest.and_then(|newest| newest.created_at_ms()).unwrap_or(0);
        let id = self.ids.next_id(received_at_ms.max(newest_ms));
        if newest.is_none_or(|newest| newest < id) { id } else { self.ids.next_id(newest_ms + 1) }
    }

    fn insert_id(&mut self, id: EventId) {
        self.recent_ids.insert(id);
        let newest_ms = self.newest_id().and_then(|newest| newest.created_at_ms()).unwrap_or(0);
        let in_turn = EventId::lower_bound_at(newest_ms - ID_REORDER_WINDOW_MS);
        while self.recent_ids.first().is_some_and(|oldest| *oldest < in_turn) {
            self.recent_ids.pop_first();
        }
    }
}

impl ImportCompany {
    fn key_fingerprint(&self, signature: Option<&str>, body: &[u8]) -> Option<String> {
        let signature = signature?.parse::<Signature>().ok()?;
        let fingerprint = self.verifier.as_ref()?.check_body(&signature, body).ok()?;
        Some(fingerprint.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(before: Option<EventId>) -> ImportDecoder {
        let company = ImportCompany { id: 1, verifier: None };
        ImportDecoder::new(before, HashMap::from([("default".to_owned(), company)]))
    }

    fn line(id: EventId, received_at_ms: i64) -> Vec<u8> {
        format!(r#"{{"id":"{id}","company":"default","received_at_ms":{received_at_ms},"body_base64":"e30="}}"#).into()
    }

    #[test]
    fn ids_are_kept_while_they_ascend() {
        let made = EventIdGenerator::default();
        let (first, second) = (made.next_id(1_790_000_000_000), made.next_id(1_790_000_000_500));
        let mut entries = reader(None);
        assert_eq!(entries.decode(&line(first, 1_790_000_000_000)).unwrap().event.id, first);
        assert_eq!(entries.decode(&line(second, 1_790_000_000_500)).unwrap().event.id, second);
        let late = entries.decode(&line(first, 1_790_000_000_000)).unwrap();
        assert!(late.event.id > second && late.original_id == Some(first));
        assert_eq!(late.event.received_at_ms, 1_790_000_000_000);
    }

    #[test]
    fn requests_at_the_same_time_keep_their_ids_and_one_without_an_id_costs_the_others_nothing() {
        let made = EventIdGenerator::default();
        let ids: Vec<_> = [0, 0, 5, 7, 9].iter().map(|ms| made.next_id(1_790_000_000_000 + ms)).collect();
        let mut entries = reader(None);
        for position in [1, 0, 3, 2] {
            assert_eq!(entries.decode(&line(ids[position], 1_790_000_000_000)).unwrap().event.id, ids[position]);
        }
        let nameless = br#"{"company":"default","received_at_ms":1790000000008,"body_base64":"e30="}"#;
        let new = entries.decode(nameless).unwrap();
        assert!(new.original_id.is_none() && ids[3] < new.event.id && new.event.id < ids[4]);
        assert_eq!(entries.decode(&line(ids[4], 1_790_000_000_000)).unwrap().event.id, ids[4]);
    }

    #[test]
    fn an_id_that_would_break_time_filters_is_not_kept() {
        let made = EventIdGenerator::default();
        let id = made.next_id(1_790_000_000_000);
        let mut entries = reader(None);
        assert_ne!(entries.decode(&line(id, 1_790_000_000_001)).unwrap().event.id, id, "older than its event");
        let future = made.next_id(Clock::system().now_ms() + 3_600_000);
        assert!(entries.decode(&line(future, 1_790_000_000_000)).unwrap().event.id < future);
        let mut behind = reader(Some(future));
        assert!(behind.decode(&line(id, 1_790_000_000_000)).unwrap().event.id > future, "the clock was set back");
    }
}
