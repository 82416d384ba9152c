//! An event to try handlers with.

use super::Context;
use crate::base::id::EventIds;
use crate::storage::{DEFAULT_COMPANY, EventSummary};

const RECEIVED_AT_MS: i64 = 1_795_305_599_000;

pub(super) fn event(name: &str) -> (EventSummary, Context) {
    let id = EventIds::default().next(RECEIVED_AT_MS);
    let summary = EventSummary {
        seq: 1,
        id,
        company_id: DEFAULT_COMPANY,
        company: "default".to_owned(),
        event: Some(name.to_owned()),
        call_id: Some("call_1".to_owned()),
        agent_id: None,
        received_at_ms: RECEIVED_AT_MS,
        source: None,
        content_type: None,
        query: None,
        signature: None,
        key_fingerprint: None,
        state: "stored".to_owned(),
        revision_of: None,
        duplicates: 0,
        size_bytes: 0,
    };
    (summary, Context::new(id, (DEFAULT_COMPANY, "default"), RECEIVED_AT_MS))
}
