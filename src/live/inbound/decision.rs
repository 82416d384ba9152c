//! What was decided about an inbound request.

use std::sync::Arc;

use super::answer::InboundAnswer;
use crate::telemetry::inbound::InboundOutcome;

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
