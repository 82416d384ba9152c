//! Inbound calls and text messages: kept like any event and answered by whoever the app puts there, in time even when the
//! store is slow or away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::line::Later;
use crate::base::id::EventId;
use crate::event::EventKind;
use crate::http::company::Company;
use crate::storage::{Appended, NewEvent};

/// Answers inbound requests.
#[async_trait]
pub trait AnswerInbound: Send + Sync {
    /// How long after its head a request may have to wait for its answer.
    fn budget(&self) -> Duration;

    /// The answer as JSON. Comes in time, and never fails.
    async fn answer(&self, inbound: Inbound) -> String;
}

/// An inbound request.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The event as which it is kept: for one that came again, the first.
    pub event_id: EventId,
    /// It was on disk already.
    pub duplicate: bool,
    /// It is not on disk, as the store is slow or away; it may be yet.
    pub later: Option<Later>,
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
            later: None,
            kind,
            company_id: company.id,
            company: Arc::clone(&company.slug),
            body: event.body.clone(),
            signature: event.signature.clone(),
            began,
            received_at_ms: event.received_at_ms,
        }
    }

    pub(super) fn kept_as(mut self, kept: Result<Appended, Later>) -> Self {
        match kept {
            Ok(Appended::Duplicate { of }) => (self.event_id, self.duplicate) = (of, true),
            Ok(Appended::Stored { .. }) => {}
            Err(later) => self.later = Some(later),
        }
        self
    }
}
