//! A request on its way to the disk and to an answer, and what was decided.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Shared};

use super::answer::InboundAnswer;
use super::request::InboundContext;
use crate::base::id::EventId;
use crate::config::InboundKind;
use crate::telemetry::inbound::InboundOutcome;

/// Comes when an event is on disk.
pub(crate) type StoreResultFuture = Shared<BoxFuture<'static, Option<(EventId, bool)>>>;

/// A request on its way to the disk, and to an answer.
pub(crate) struct LiveInboundRequest {
    /// Call or message.
    pub kind: InboundKind,
    /// The event as which it is kept, unless it is on disk already.
    pub event_id: EventId,
    /// As which event it is on disk, and whether it was before; `None` as soon as the store is known to be away.
    pub first_store_result: StoreResultFuture,
    /// The same once the store has it after all; `None` when it could not be kept.
    pub final_store_result: StoreResultFuture,
    /// What besides company and body makes it a request of its own.
    pub dedupe_discriminator: Option<String>,
    /// The company, as the store numbers it.
    pub company_id: i64,
    /// The company's slug.
    pub company: Arc<str>,
    /// The raw bytes.
    pub body: Bytes,
    /// Retell's signature.
    pub signature: Option<String>,
    /// When its head had arrived: the budget counts from here.
    pub received_at: Instant,
    /// The same in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
}

pub(super) type InboundFlightKey = (i64, Option<String>, Bytes);

impl LiveInboundRequest {
    /// What two requests have in common that are one.
    pub(super) fn flight_key(&self) -> InboundFlightKey {
        (self.company_id, self.dedupe_discriminator.clone(), self.body.clone())
    }

    pub(super) fn context(&self, deadline: tokio::time::Instant) -> InboundContext {
        InboundContext {
            event_id: self.event_id,
            company_id: self.company_id,
            company: self.company.to_string(),
            received_at_ms: self.received_at_ms,
            deadline,
        }
    }
}

/// What was decided, by whom.
pub(super) struct InboundDecision {
    pub(super) rule: Option<Arc<str>>,
    pub(super) outcome: InboundOutcome,
    /// `None`: the fallback.
    pub(super) answer: Option<InboundAnswer>,
}

impl InboundDecision {
    pub(super) fn failed_rule(rule: &Arc<str>, outcome: InboundOutcome) -> Self {
        Self { rule: Some(Arc::clone(rule)), outcome, answer: None }
    }

    pub(super) fn answered(rule: &Arc<str>, answer: InboundAnswer) -> Self {
        let outcome = if answer.is_rejected() { InboundOutcome::CallerRejected } else { InboundOutcome::Answered };
        Self { rule: Some(Arc::clone(rule)), outcome, answer: Some(answer) }
    }

    pub(super) fn without_rule(outcome: InboundOutcome) -> Self {
        Self { rule: None, outcome, answer: None }
    }

    pub(super) fn empty() -> Self {
        Self { rule: None, outcome: InboundOutcome::Empty, answer: Some(InboundAnswer::empty()) }
    }
}
