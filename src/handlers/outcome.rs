use std::time::Duration;

/// What became of an attempt. Reasons go to the log and the store: no personal data in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Finished with this event.
    Done,
    /// Try again.
    Retry {
        /// Not before so long; `None` leaves it to the schedule.
        after: Option<Duration>,
        /// What went wrong.
        reason: String,
    },
    /// Trying again is of no use.
    Fail {
        /// What went wrong.
        reason: String,
    },
}

impl Outcome {
    /// Try again by the schedule.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { after: None, reason: reason.into() }
    }

    /// Try again after this long.
    pub fn retry_after(after: Duration, reason: impl Into<String>) -> Self {
        Self::Retry { after: Some(after), reason: reason.into() }
    }

    /// Give up.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self::Fail { reason: reason.into() }
    }
}

/// An outcome with what is kept of the attempt besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptResult {
    /// What became of it.
    pub outcome: Outcome,
    /// The status code of an HTTP answer, or the exit code of a program.
    pub status: Option<i32>,
    /// The beginning of what was answered. At most 500 bytes are kept, phone numbers and tokens hidden.
    pub response_excerpt: Option<String>,
}

impl From<Outcome> for AttemptResult {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, status: None, response_excerpt: None }
    }
}
