//! Inbound calls and text messages: kept like any event, and then answered, by whoever the app puts there.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use crate::base::id::EventId;
use crate::event::EventKind;
use crate::http::company::Company;
use crate::storage::{Appended, NewEvent};

/// Answers what is on disk.
#[async_trait]
pub trait AnswerInbound: Send + Sync {
    /// The answer as JSON. Comes in time, and never fails.
    async fn answer(&self, inbound: Inbound) -> String;
}

/// An inbound request that is on disk.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The event as which it is kept: for one that came again, the first.
    pub event_id: EventId,
    /// It was on disk already.
    pub duplicate: bool,
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
    pub(super) fn of(event: &NewEvent, kind: EventKind, company: &Company, began: Instant) -> Self {
        Self {
            event_id: event.id,
            duplicate: false,
            kind,
            company_id: company.id,
            company: Arc::clone(&company.slug),
            body: event.body.clone(),
            signature: event.signature.clone(),
            began,
            received_at_ms: event.received_at_ms,
        }
    }

    pub(super) fn kept_as(mut self, appended: &Appended) -> Self {
        if let Appended::Duplicate { of } = appended {
            (self.event_id, self.duplicate) = (*of, true);
        }
        self
    }
}
