//! One row a call, merged from whatever arrives.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Context, EventHandler, Outcome};
use crate::event::{Call, Event};
use crate::storage::{CallRecord, DEFAULT_COMPANY, Stage, Store, StoreError, TransferEvent};

/// Keeps the table behind `calls list`.
pub struct CallStore {
    store: Arc<dyn Store>,
}

impl CallStore {
    /// Rows go to `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl EventHandler for CallStore {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        let Some(record) = record(event, context) else {
            return Outcome::Done;
        };
        match self.store.merge_call(record).await {
            Ok(()) => Outcome::Done,
            Err(StoreError::Refused(why)) => Outcome::fail(why),
            Err(error) => Outcome::retry(error.to_string()),
        }
    }
}

/// What `event` says about its call, if it is about one.
fn record(event: &Event, context: &Context) -> Option<CallRecord> {
    let call = event.call()?;
    let call_id = call.call_id.as_deref().filter(|id| !id.is_empty())?;
    let mut record = CallRecord::new(DEFAULT_COMPANY, call_id, stage(event), context.received_at_ms);
    fill(&mut record, call);
    if let Some(transfer) = transfer(event) {
        record.transfers.insert(context.event_id.to_string(), transfer);
    }
    Some(record)
}

fn stage(event: &Event) -> Stage {
    match event {
        Event::CallStarted(_) => Stage::Started,
        Event::CallEnded(_) => Stage::Ended,
        Event::CallAnalyzed(_) => Stage::Analyzed,
        _ => Stage::Underway,
    }
}

fn transfer(event: &Event) -> Option<TransferEvent> {
    match event {
        Event::TransferStarted(_) => Some(TransferEvent::Started),
        Event::TransferBridged(_) => Some(TransferEvent::Bridged),
        Event::TransferCancelled(_) => Some(TransferEvent::Cancelled),
        Event::TransferEnded(_) => Some(TransferEvent::Ended),
        _ => None,
    }
}

fn fill(record: &mut CallRecord, call: &Call) {
    record.call_type = call.call_type.as_ref().map(|kind| kind.as_str().to_owned());
    record.direction = call.direction.as_ref().map(|direction| direction.as_str().to_owned());
    record.agent_id.clone_from(&call.agent_id);
    record.agent_name.clone_from(&call.agent_name);
    record.agent_version = call.agent_version;
    record.from_number.clone_from(&call.from_number);
    record.to_number.clone_from(&call.to_number);
    record.call_status = call.call_status.as_ref().map(|status| status.as_str().to_owned());
    record.started_at_ms = call.start_timestamp;
    record.ended_at_ms = call.end_timestamp;
    record.duration_ms = call.duration_ms;
    record.disconnection_reason = call.disconnection_reason.as_ref().map(|reason| reason.as_str().to_owned());
    record.cost_cents = call.call_cost.as_ref().and_then(|cost| cost.combined_cost.as_ref()).map(ToString::to_string);
    if let Some(analysis) = &call.call_analysis {
        record.user_sentiment = analysis.user_sentiment.as_ref().map(|mood| mood.as_str().to_owned());
        record.call_successful = analysis.call_successful;
    }
}
