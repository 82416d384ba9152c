//! Answers to inbound requests, and what is known about a caller.

use std::fmt;

use crate::base::id::EventId;
use crate::telemetry::inbound::InboundOutcome;

/// The answer to an inbound request, as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct InboundAnswerRecord {
    /// The event of the request.
    pub event_id: EventId,
    /// Name of the inbound rule, or of what else made the answer; `None` when nothing did.
    pub rule: Option<String>,
    /// The body of the answer, as JSON.
    pub answer: String,
    pub outcome: InboundOutcome,
    /// Time from the head of the request to its answer.
    pub duration_ms: i64,
    /// Milliseconds since the Unix epoch.
    pub answered_at_ms: i64,
}

/// Earlier calls between a phone number and a company, in either direction.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CallerHistory {
    /// Number of calls, counted up to [`MAX_COUNTED_CALLS`].
    pub call_count: u64,
    /// Start of the latest call, in milliseconds since the Unix epoch.
    pub last_call_at_ms: Option<i64>,
    /// Summary of the latest call that has one.
    pub last_summary: Option<String>,
    /// Custom analysis data of the latest calls, as JSON, latest first.
    pub custom_analysis_data: Vec<String>,
}

/// Calls of one caller are counted up to this number, because counting takes time while the caller waits.
pub(crate) const MAX_COUNTED_CALLS: u64 = 1_000;

// Written by hand: answers and histories hold personal data.

impl fmt::Debug for InboundAnswerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundAnswerRecord")
            .field("event_id", &self.event_id)
            .field("rule", &self.rule)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CallerHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerHistory").field("calls", &self.call_count).finish_non_exhaustive()
    }
}
