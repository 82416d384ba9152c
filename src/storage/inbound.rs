//! What an inbound request was answered, and what is known of who asked.

use std::fmt;

use crate::base::id::EventId;

/// The answer to an inbound request, as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct InboundAnswerRecord {
    /// The request.
    pub event_id: EventId,
    /// The rule's name, or what else made the answer; `None` when nothing did.
    pub rule: Option<String>,
    /// JSON.
    pub answer: String,
    /// `rule`, `rejected`, `empty`, `fallback`, `invalid`, `late` or `not_stored`.
    pub outcome: String,
    /// From the head of the request to the answer.
    pub duration_ms: i64,
    /// When it was answered, in milliseconds since the Unix epoch.
    pub answered_at_ms: i64,
}

/// Earlier calls between a number and a company, whoever called.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CallerHistory {
    /// How many there are, counted up to [`MOST_COUNTED`].
    pub call_count: u64,
    /// When the latest began.
    pub last_call_at_ms: Option<i64>,
    /// The summary of the latest that has one.
    pub last_summary: Option<String>,
    /// Custom analysis data of the latest ones, as JSON, the latest first.
    pub custom_analysis_data: Vec<String>,
}

/// A caller's calls are counted no further.
pub(crate) const MAX_COUNTED_CALLS: u64 = 1_000;

// Neither shows what was said.

impl fmt::Debug for InboundAnswerRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundAnswered")
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
