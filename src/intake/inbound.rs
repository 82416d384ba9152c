//! Inbound calls and text messages: kept like any event, and answered meanwhile by whoever the app puts there.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use super::write_behind::PendingWrite;
use crate::base::id::EventId;
use crate::event::EventKind;
use crate::http::company::Company;
use crate::storage::NewEvent;

/// Answers inbound requests.
#[async_trait]
pub(crate) trait InboundAnswerProvider: Send + Sync {
    /// The answer as JSON. Comes in time, and never fails.
    async fn answer(&self, inbound: InboundWebhook) -> String;
}

/// An inbound request.
#[derive(Clone, Debug)]
pub(crate) struct InboundWebhook {
    /// How its event fares.
    pub pending_write: PendingWrite,
    /// The event as which it is kept, unless it is on disk already.
    pub event_id: EventId,
    /// What besides company and body makes it a request of its own.
    pub dedupe_discriminator: Option<String>,
    /// `CallInbound` or `ChatInbound`.
    pub kind: EventKind,
    /// The company, as the store numbers it.
    pub company_id: i64,
    /// The company's slug.
    pub company: Arc<str>,
    /// The raw bytes.
    pub body: Bytes,
    /// The signature header.
    pub signature: Option<String>,
    /// When its head had arrived.
    pub received_at: Instant,
    /// The same in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
}

impl InboundWebhook {
    pub(super) fn new(
        event: &NewEvent,
        kind: EventKind,
        (company, began): (&Company, Instant),
        kept: PendingWrite,
    ) -> Self {
        Self {
            pending_write: kept,
            event_id: event.id,
            dedupe_discriminator: event.dedupe_discriminator.clone(),
            kind,
            company_id: company.id,
            company: Arc::clone(&company.slug),
            body: event.body.clone(),
            signature: event.signature.clone(),
            received_at: began,
            received_at_ms: event.received_at_ms,
        }
    }
}
