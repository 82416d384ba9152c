use std::time::Duration;

use crate::calls::CallRecord;

/// The result of one attempt. Reasons are logged and stored, so they must not contain personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The event was handled; the delivery has succeeded.
    Done,
    /// There was nothing to do for this event, such as no message to send; the delivery is skipped.
    Skip {
        /// Why there was nothing to do.
        reason: String,
    },
    /// The attempt failed; another one follows after a delay.
    Retry {
        /// Minimum delay before the next attempt; `None` uses the retry schedule.
        after: Option<Duration>,
        /// Why the attempt failed, for the log and the store.
        reason: String,
    },
    /// The attempt failed permanently; the delivery is dead.
    Fail {
        /// Why another attempt would fail as well.
        reason: String,
    },
}

impl Outcome {
    /// Ends the delivery as skipped: nothing was done.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip { reason: reason.into() }
    }

    /// For an event that the handler has no code for.
    pub(super) fn not_handled() -> Self {
        Self::skip("the handler has no code for this event")
    }

    /// Retries after the next delay of the retry schedule.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { after: None, reason: reason.into() }
    }

    /// Retries no sooner than `after` from now.
    pub fn retry_after(after: Duration, reason: impl Into<String>) -> Self {
        Self::Retry { after: Some(after), reason: reason.into() }
    }

    /// Gives up: the delivery becomes a dead letter.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self::Fail { reason: reason.into() }
    }
}

/// What an attempt shows about the destination of its handler. The circuit breaker goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationHealth {
    /// It works, and accepted the event.
    Up,
    /// It works, and refused this one event.
    RefusedEvent,
    /// It gave no response, or one that any other event would have got too.
    Down,
    /// It was not asked, for example because a key is missing.
    Unknown,
}

/// An outcome with the details of the attempt that are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptResult {
    /// Whether the delivery has succeeded, is skipped, is retried, or is dead.
    pub outcome: Outcome,
    /// What the attempt shows about the destination.
    pub health: DestinationHealth,
    /// The status code of the HTTP response, or the exit code of the program.
    pub status: Option<i32>,
    /// The beginning of the response. At most 500 bytes are stored, with phone numbers and tokens redacted.
    pub response_excerpt: Option<String>,
    /// What the event says of its call, stored together with the outcome.
    pub(crate) call: Option<Box<CallRecord>>,
}

impl From<Outcome> for AttemptResult {
    fn from(outcome: Outcome) -> Self {
        let health = match outcome {
            Outcome::Done => DestinationHealth::Up,
            Outcome::Skip { .. } => DestinationHealth::Unknown,
            Outcome::Retry { .. } => DestinationHealth::Down,
            Outcome::Fail { .. } => DestinationHealth::RefusedEvent,
        };
        Self { outcome, health, status: None, response_excerpt: None, call: None }
    }
}

impl AttemptResult {
    /// The result of an attempt that ended before the destination was asked.
    pub(crate) fn without_request(outcome: Outcome) -> Self {
        Self { health: DestinationHealth::Unknown, ..outcome.into() }
    }
}
