//! One row a call, merged from whatever arrives.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Context, EventHandler, Outcome};
use crate::event::{Call, Event};
use crate::storage::{CallRecord, Stage, Store, StoreError, TransferEvent, bounded};

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
    let call_id = bounded(call.call_id.clone()).filter(|id| !id.is_empty())?;
    let mut record = CallRecord::new(context.company_id, &call_id, stage(event), context.received_at_ms);
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
    record.call_type = text(call.call_type.as_ref());
    record.direction = text(call.direction.as_ref());
    record.agent_id = text(call.agent_id.as_ref());
    record.agent_name = text(call.agent_name.as_ref());
    record.agent_version = call.agent_version;
    record.from_number = text(call.from_number.as_ref());
    record.to_number = text(call.to_number.as_ref());
    record.call_status = text(call.call_status.as_ref());
    record.started_at_ms = call.start_timestamp;
    record.ended_at_ms = call.end_timestamp;
    record.duration_ms = call.duration_ms;
    record.disconnection_reason = text(call.disconnection_reason.as_ref());
    record.cost_cents = text(call.call_cost.as_ref().and_then(|cost| cost.combined_cost.as_ref()));
    if let Some(analysis) = &call.call_analysis {
        record.user_sentiment = text(analysis.user_sentiment.as_ref());
        record.call_successful = analysis.call_successful;
    }
}

/// A value of the body as a column.
fn text(value: Option<&impl ToString>) -> Option<String> {
    bounded(value.map(ToString::to_string))
}
