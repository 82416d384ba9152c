//! Inbound calls and text messages: stored like any event, and answered at the same time by a provider that the app
//! sets.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use super::write_behind::PendingWrite;
use crate::base::id::EventId;
use crate::event::EventKind;
use crate::storage::NewEvent;
use crate::tenants::Company;

/// Answers inbound requests. A trait, because `intake` must not depend on `live`.
#[async_trait]
pub(crate) trait InboundAnswerProvider: Send + Sync {
    /// The answer as JSON. The provider keeps the deadline itself and always has an answer.
    async fn answer(&self, inbound: InboundWebhook) -> String;
}

/// A verified inbound request that is being stored.
#[derive(Clone, Debug)]
pub(crate) struct InboundWebhook {
    pub pending_write: PendingWrite,
    /// Id of the new event. A duplicate is stored under its original id, which `pending_write` returns.
    pub event_id: EventId,
    /// Part of the event's identity, see `dedupe.rs`.
    pub dedupe_discriminator: Option<String>,
    /// Either `CallInbound` or `ChatInbound`.
    pub kind: EventKind,
    pub company_id: i64,
    pub company: Arc<str>,
    pub body: Bytes,
    pub signature: Option<String>,
    /// When the head of the request had arrived. The deadline counts from here.
    pub received_at: Instant,
    /// The same moment in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
}

impl InboundWebhook {
    pub(super) fn new(
        event: &NewEvent,
        kind: EventKind,
        company: &Company,
        received_at: Instant,
        pending_write: PendingWrite,
    ) -> Self {
        Self {
            pending_write,
            event_id: event.id,
            dedupe_discriminator: event.dedupe_discriminator.clone(),
            kind,
            company_id: company.id,
            company: Arc::clone(&company.slug),
            body: event.body.clone(),
            signature: event.signature.clone(),
            received_at,
            received_at_ms: event.received_at_ms,
        }
    }
}
