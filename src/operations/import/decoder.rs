//! Decodes one line of an export, and decides which id its event gets.

use std::collections::{BTreeSet, HashMap};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::base::clock::Clock;
use crate::base::id::{CompanyId, EventId, EventIdGenerator};
use crate::intake::ImportedEvent;
use crate::security::signature::{Signature, Verifier};
use crate::storage::NewEvent;

/// Concurrent requests may be committed in another order than their ids, which have the order of arrival. A request is
/// committed within this time after its arrival, so ids that are closer together may be out of order.
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

pub(super) struct ImportRecord {
    /// Id in the file; `None` when it is missing or malformed.
    pub(super) original_id: Option<EventId>,
    pub(super) event: NewEvent,
}

pub(super) struct ImportCompany {
    pub(super) id: CompanyId,
    /// Finds the key that made a signature; `None` when the company has no keys.
    pub(super) verifier: Option<Verifier>,
}

pub(super) struct ImportDecoder {
    clock: Clock,
    ids: EventIdGenerator,
    /// The newest id in the store before the import.
    newest_before: Option<EventId>,
    /// Ids assigned so far, within [`ID_REORDER_WINDOW_MS`] of the newest.
    recent_ids: BTreeSet<EventId>,
    /// The configured companies by slug.
    companies: HashMap<String, ImportCompany>,
}

impl ImportDecoder {
    pub(super) fn new(clock: Clock, newest_before: Option<EventId>, companies: HashMap<String, ImportCompany>) -> Self {
        Self { clock, ids: EventIdGenerator::default(), newest_before, recent_ids: BTreeSet::new(), companies }
    }

    /// Decodes a line. Errors name no value of the line, since exports contain personal data.
    pub(super) fn decode(&mut self, line: &[u8]) -> Result<ImportRecord, String> {
        let line: ImportLine = serde_json::from_slice(line)
            .map_err(|error| format!("not a line of an export (JSON error at column {})", error.column()))?;
        let Some(company) = self.companies.get(&line.company) else {
            return Err("the company of the event is not in [[companies]]; add a company with its slug".to_owned());
        };
        let now_ms = self.clock.now_ms();
        if !(0..=now_ms).contains(&line.received_at_ms) {
            return Err("received_at_ms is in the future or before 1970".to_owned());
        }
        let body =
            BASE64_STANDARD.decode(&line.body_base64).map_err(|_| "body_base64 is not valid base64".to_owned())?;
        let original_id = line.id.as_deref().and_then(|id| id.parse().ok());
        let event = ImportedEvent {
            company_id: company.id,
            received_at_ms: line.received_at_ms,
            content_type: line.headers.content_type,
            key_fingerprint: company.key_fingerprint(line.headers.signature.as_deref(), &body),
            signature: line.headers.signature,
            body: body.into(),
        };
        let id = match original_id {
            Some(id) if self.can_keep_id(id, line.received_at_ms, now_ms) => id,
            _ => self.new_id(line.received_at_ms),
        };
        self.insert_id(id);
        Ok(ImportRecord { original_id, event: event.into_new_event(id) })
    }

    fn newest_id(&self) -> Option<EventId> {
        self.recent_ids.last().copied().or(self.newest_before)
    }

    fn newest_id_ms(&self) -> i64 {
        self.newest_id().and_then(|newest| newest.created_at_ms()).unwrap_or(0)
    }

    /// An id is kept if it is not older than its event, not in the future, newer than every id that was in the store
    /// before the import, not used yet, and not further behind the newest id than concurrent requests can be.
    fn can_keep_id(&self, id: EventId, received_at_ms: i64, now_ms: i64) -> bool {
        let Some(created_at_ms) = id.created_at_ms() else { return false };
        let oldest_allowed_ms = received_at_ms.max(self.newest_id_ms() - ID_REORDER_WINDOW_MS);
        (oldest_allowed_ms..now_ms).contains(&created_at_ms)
            && self.newest_before.is_none_or(|newest_before| newest_before < id)
            && !self.recent_ids.contains(&id)
    }

    /// A new id directly after the newest one, not with the current time: later events of the file can then keep
    /// their ids.
    fn new_id(&self, received_at_ms: i64) -> EventId {
        let newest_ms = self.newest_id_ms();
        let id = self.ids.next_id(received_at_ms.max(newest_ms));
        // The newest id was made by another process: within the same millisecond it can be larger than the new one.
        if self.newest_id().is_none_or(|newest| newest < id) { id } else { self.ids.next_id(newest_ms + 1) }
    }

    fn insert_id(&mut self, id: EventId) {
        self.recent_ids.insert(id);
        let oldest_relevant = EventId::lower_bound_at(self.newest_id_ms() - ID_REORDER_WINDOW_MS);
        while self.recent_ids.first().is_some_and(|oldest| *oldest < oldest_relevant) {
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

    fn new_decoder(newest_before: Option<EventId>) -> ImportDecoder {
        let company = ImportCompany { id: CompanyId::new(1), verifier: None };
        ImportDecoder::new(Clock::system(), newest_before, HashMap::from([("default".to_owned(), company)]))
    }

    fn line(id: EventId, received_at_ms: i64) -> Vec<u8> {
        format!(r#"{{"id":"{id}","company":"default","received_at_ms":{received_at_ms},"body_base64":"e30="}}"#).into()
    }

    #[test]
    fn ids_are_kept_while_they_ascend() {
        let made = EventIdGenerator::default();
        let (first, second) = (made.next_id(1_790_000_000_000), made.next_id(1_790_000_000_500));
        let mut decoder = new_decoder(None);
        assert_eq!(decoder.decode(&line(first, 1_790_000_000_000)).unwrap().event.id, first);
        assert_eq!(decoder.decode(&line(second, 1_790_000_000_500)).unwrap().event.id, second);
        let late = decoder.decode(&line(first, 1_790_000_000_000)).unwrap();
        assert!(late.event.id > second && late.original_id == Some(first));
        assert_eq!(late.event.received_at_ms, 1_790_000_000_000);
    }

    #[test]
    fn concurrent_requests_keep_their_ids_also_next_to_an_event_without_an_id() {
        let made = EventIdGenerator::default();
        let ids: Vec<_> = [0, 0, 5, 7, 9].iter().map(|ms| made.next_id(1_790_000_000_000 + ms)).collect();
        let mut decoder = new_decoder(None);
        for position in [1, 0, 3, 2] {
            assert_eq!(decoder.decode(&line(ids[position], 1_790_000_000_000)).unwrap().event.id, ids[position]);
        }
        let nameless = br#"{"company":"default","received_at_ms":1790000000008,"body_base64":"e30="}"#;
        let new = decoder.decode(nameless).unwrap();
        assert!(new.original_id.is_none() && ids[3] < new.event.id && new.event.id < ids[4]);
        assert_eq!(decoder.decode(&line(ids[4], 1_790_000_000_000)).unwrap().event.id, ids[4]);
    }

    #[test]
    fn ids_that_would_break_time_filters_are_replaced() {
        let made = EventIdGenerator::default();
        let id = made.next_id(1_790_000_000_000);
        let mut decoder = new_decoder(None);
        assert_ne!(decoder.decode(&line(id, 1_790_000_000_001)).unwrap().event.id, id, "older than its event");
        let future = made.next_id(Clock::system().now_ms() + 3_600_000);
        assert!(decoder.decode(&line(future, 1_790_000_000_000)).unwrap().event.id < future);
        let mut behind = new_decoder(Some(future));
        assert!(behind.decode(&line(id, 1_790_000_000_000)).unwrap().event.id > future, "the clock was set back");
    }
}
