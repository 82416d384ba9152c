//! Answers to inbound requests, see [`InboundAnswerStore`](crate::storage::InboundAnswerStore).

use super::{NOW_MS, TestStore};
use crate::base::id::EventId;
use crate::storage::InboundAnswerRecord;
use crate::telemetry::inbound::InboundOutcome;

fn answer(event_id: EventId, answer: &str) -> InboundAnswerRecord {
    InboundAnswerRecord {
        event_id,
        rule: Some("night".to_owned()),
        answer: answer.to_owned(),
        outcome: InboundOutcome::Answered,
        duration_ms: 3,
        answered_at_ms: NOW_MS,
    }
}

pub(in crate::storage) async fn the_first_answer_to_a_request_stays(store: TestStore) {
    let event = store.new_event("call_1", "{}");
    let id = event.id;
    assert_eq!(store.get_inbound_answer(id).await.unwrap(), None);
    store.insert_inbound_answer(answer(id, "before the request")).await.unwrap();
    assert_eq!(store.get_inbound_answer(id).await.unwrap(), None, "no answer without its request");
    store.append(event).await.unwrap();
    store.insert_inbound_answer(answer(id, "first")).await.unwrap();
    store.insert_inbound_answer(InboundAnswerRecord { rule: None, ..answer(id, "second") }).await.unwrap();
    let store = store.restart().await;
    assert_eq!(store.get_inbound_answer(id).await.unwrap(), Some(answer(id, "first")));
}
