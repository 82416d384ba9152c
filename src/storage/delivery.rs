//! One event for one handler, and what became of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::StoredEvent;

/// The number under which the store knows a handler.
pub(crate) type HandlerId = i64;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for its first attempt.
    Pending = 0,
    /// An attempt is under way.
    Running = 1,
    /// Waits for another attempt.
    Scheduled = 2,
    /// The handler is done with it.
    Succeeded = 3,
    /// Given up: a dead letter.
    Dead = 4,
    /// Not attempted; the note says why.
    Skipped = 5,
}

impl DeliveryState {
    /// All of them, by number.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Scheduled, Self::Succeeded, Self::Dead, Self::Skipped];

    /// The state kept as this number; anything else counts as pending.
    #[must_use]
    pub fn from_number(number: i64) -> Self {
        usize::try_from(number).ok().and_then(|at| Self::ALL.get(at)).copied().unwrap_or(Self::Pending)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Scheduled => "scheduled",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a delivery is not attempted. That the handler did not want the event leaves no delivery at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// It is another body for an event the handler had.
    Revision,
    /// It is about a test call, and the handler has effects outside.
    TestCall,
    /// The handler is not enabled.
    HandlerDisabled,
    /// A later event of the call says all it says.
    Superseded,
    /// Somebody cancelled it.
    Cancelled,
    /// Somebody discarded the dead letter.
    Discarded,
    /// The event was erased.
    Erased,
}

impl SkipReason {
    /// The reason as it is kept and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revision => "revision",
            Self::TestCall => "test",
            Self::HandlerDisabled => "disabled",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Discarded => "discarded",
            Self::Erased => "erased",
        }
    }
}

/// What the store has to know about a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerRow {
    /// Its name, by which it is known over restarts.
    pub name: String,
    /// Whether the events of a call wait for each other.
    pub ordered: bool,
    /// How long one that waits for another attempt holds back later ones, in milliseconds.
    pub max_hold_ms: i64,
}

/// An event that is to become a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedDelivery {
    /// The event's position.
    pub seq: i64,
    /// Why it is not attempted, if it is not.
    pub skip_reason: Option<SkipReason>,
    /// Whether it makes earlier ones of its call and name, not tried yet, superfluous.
    pub supersedes: bool,
}

/// How much to take, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// What time it is, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Until when nobody else gets them.
    pub lease_until_ms: i64,
    /// Only those that may be taken since this time, which is never later than `now_ms`.
    pub due_before_ms: i64,
    /// At most so many, and of one company so many together with those that wait already.
    pub limit: usize,
    /// See `limit`.
    pub limit_per_company: usize,
    /// How many of each company were claimed before and wait.
    pub prefetched_by_company: BTreeMap<i64, usize>,
    /// About so many bytes of bodies; one delivery may be larger.
    pub limit_bytes: u64,
    /// The company to begin with: companies take turns.
    pub after_company_id: i64,
}

/// A delivery taken for an attempt.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    /// The event.
    pub event: StoredEvent,
    /// Attempts made before this one.
    pub previous_attempts: u32,
    /// When the delivery was made or replayed, in milliseconds since the Unix epoch.
    pub queued_at_ms: i64,
    /// Somebody asked for it to be delivered once more.
    pub is_replay: bool,
}

/// One attempt, for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptRecord {
    /// From 1.
    pub attempt: u32,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// How long it took.
    pub duration_ms: i64,
    /// `done`, `retry` or `fail`.
    pub outcome: String,
    /// The status code of an HTTP answer, or the exit code of a program.
    pub status: Option<i32>,
    /// What went wrong, without personal data.
    pub error: Option<String>,
    /// The beginning of what was answered, personal data hidden.
    pub answer: Option<String>,
}

/// What becomes of a delivery after an attempt, or without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The handler is done with it.
    Succeeded,
    /// To be tried again.
    Scheduled {
        /// Milliseconds since the Unix epoch.
        next_attempt_at_ms: i64,
        /// What went wrong, without personal data.
        error: String,
    },
    /// Given up.
    Dead {
        /// What went wrong, without personal data.
        error: String,
    },
    /// Given back untried.
    Released,
}

/// A settled delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledDelivery {
    /// The event's position.
    pub seq: i64,
    /// What becomes of it.
    pub settlement: Settlement,
    /// The attempt that led there, if there was one.
    pub attempt: Option<AttemptRecord>,
}

/// The state of a handler's circuit breaker, as it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Attempts are made.
    #[default]
    Closed,
    /// No attempts for a while.
    Open,
    /// One attempt finds out whether it is better.
    HalfOpen,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The state of this name; anything else counts as closed.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.as_str() == name).unwrap_or_default()
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}
