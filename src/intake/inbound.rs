//! Inbound calls and text messages: kept like any event, and answered meanwhile by whoever the app puts there.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use super::line::Kept;
use crate::base::id::EventId;
use crate::event::EventKind;
use crate::http::company::Company;
use crate::storage::NewEvent;

/// Answers inbound requests.
#[async_trait]
pub trait AnswerInbound: Send + Sync {
    /// The answer as JSON. Comes in time, and never fails.
    async fn answer(&self, inbound: Inbound) -> String;
}

/// An inbound request.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// How its event fares.
    pub kept: Kept,
    /// The event as which it is kept, unless it is on disk already.
    pub event_id: EventId,
    /// What besides company and body makes it a request of its own.
    pub told_apart_by: Option<String>,
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
    pub began: Instant,
    /// The same in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
}

impl Inbound {
    pub(super) fn of(event: &NewEvent, kind: EventKind, (company, began): (&Company, Instant), kept: Kept) -> Self {
        Self {
            kept,
            event_id: event.id,
            told_apart_by: event.told_apart_by.clone(),
            kind,
            company_id: company.id,
            company: Arc::clone(&company.slug),
            body: event.body.clone(),
            signature: event.signature.clone(),
            began,
            received_at_ms: event.received_at_ms,
        }
    }
}
