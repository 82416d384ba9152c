//! A live inbound request while it is stored and answered, and the decision about it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Shared};

use super::answer::InboundAnswer;
use super::request::InboundContext;
use crate::base::id::EventId;
use crate::config::InboundKind;
use crate::telemetry::inbound::InboundOutcome;

/// Resolves when the event is on disk: its id, and whether it was stored before (a duplicate). `None` if it is not
/// stored.
pub(crate) type StoreResultFuture = Shared<BoxFuture<'static, Option<(EventId, bool)>>>;

/// A request that is being stored and answered at the same time.
pub(crate) struct LiveInboundRequest {
    pub kind: InboundKind,
    /// The id under which the request is stored, unless it is a duplicate.
    pub event_id: EventId,
    /// Resolves to `None` as soon as the store is known to be unavailable, so that the fallback can be sent.
    pub first_store_result: StoreResultFuture,
    /// Resolves when the request is stored after all; to `None` when storing it was abandoned.
    pub final_store_result: StoreResultFuture,
    /// Distinguishes requests of the same company with the same body.
    pub dedupe_discriminator: Option<String>,
    /// The company's id in the store.
    pub company_id: i64,
    pub company: Arc<str>,
    pub body: Bytes,
    /// Retell's own signature, from the header `X-Retell-Signature`.
    pub signature: Option<String>,
    /// When the head of the request had arrived. The budget counts from here.
    pub received_at: Instant,
    /// The same in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
}

pub(super) type InboundFlightKey = (i64, Option<String>, Bytes);

impl LiveInboundRequest {
    /// Two requests with the same key are duplicates and share one answer.
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

pub(super) struct InboundDecision {
    /// The rule that decided, or the rule that failed.
    pub(super) rule: Option<Arc<str>>,
    pub(super) outcome: InboundOutcome,
    /// `None` stands for the fallback.
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
