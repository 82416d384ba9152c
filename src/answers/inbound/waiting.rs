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
pub type Keeping = Shared<BoxFuture<'static, Option<(EventId, bool)>>>;

/// A request on its way to the disk, and to an answer.
pub struct Waiting {
    /// Call or message.
    pub kind: InboundKind,
    /// The event as which it is kept, unless it is on disk already.
    pub event_id: EventId,
    /// As which event it is on disk, and whether it was before; `None` as soon as the store is known to be away.
    pub soon: Keeping,
    /// The same once the store has it after all; `None` when it could not be kept.
    pub at_last: Keeping,
    /// What besides company and body makes it a request of its own.
    pub told_apart_by: Option<String>,
    /// The company, as the store numbers it.
    pub company_id: i64,
    /// The company's slug.
    pub company: Arc<str>,
    /// The raw bytes.
    pub body: Bytes,
    /// Retell's signature.
    pub signature: Option<String>,
    /// When its head had arrived: the budget counts from here.
    pub began: Instant,
    /// The same in milliseconds since the Unix epoch.
    pub received_at_ms: i64,
}

pub(super) type Same = (i64, Option<String>, Bytes);

impl Waiting {
    /// What two requests have in common that are one.
    pub(super) fn same(&self) -> Same {
        (self.company_id, self.told_apart_by.clone(), self.body.clone())
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
pub(super) struct Decided {
    pub(super) rule: Option<Arc<str>>,
    pub(super) outcome: InboundOutcome,
    /// `None`: the fallback.
    pub(super) answer: Option<InboundAnswer>,
}

impl Decided {
    pub(super) fn failed(rule: &Arc<str>, outcome: InboundOutcome) -> Self {
        Self { rule: Some(Arc::clone(rule)), outcome, answer: None }
    }

    pub(super) fn said(rule: &Arc<str>, answer: InboundAnswer) -> Self {
        let outcome = if answer.is_rejected() { InboundOutcome::Rejected } else { InboundOutcome::Rule };
        Self { rule: Some(Arc::clone(rule)), outcome, answer: Some(answer) }
    }

    pub(super) fn by_nobody(outcome: InboundOutcome) -> Self {
        Self { rule: None, outcome, answer: None }
    }

    pub(super) fn nothing() -> Self {
        Self { rule: None, outcome: InboundOutcome::Empty, answer: Some(InboundAnswer::empty()) }
    }
}
