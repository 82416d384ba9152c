//! A sample event for handler tests.

use super::Context;
use crate::base::id::EventIdGenerator;
use crate::storage::Seq;
use crate::storage::{DEFAULT_COMPANY_ID, EventOrigin, EventState, EventSummary};

const RECEIVED_AT_MS: i64 = 1_795_305_599_000;

pub(super) fn sample_event(name: &str) -> (EventSummary, Context) {
    let id = EventIdGenerator::default().next_id(RECEIVED_AT_MS);
    let summary = EventSummary {
        seq: Seq(1),
        id,
        company_id: DEFAULT_COMPANY_ID,
        company: "default".to_owned(),
        kind: Some(name.to_owned()),
        call_id: Some("call_1".to_owned()),
        agent_id: None,
        received_at_ms: RECEIVED_AT_MS,
        source: None,
        content_type: None,
        query: None,
        signature: None,
        key_fingerprint: None,
        origin: EventOrigin::Retell,
        state: EventState::Stored,
        revision_of: None,
        duplicate_count: 0,
        size_bytes: 0,
    };
    (summary, Context::new(id, (DEFAULT_COMPANY_ID, "default"), RECEIVED_AT_MS))
}
