//! Deliveries: one event for one handler, its attempts and its outcome.

mod claim_room;
mod planning;
mod queue_update;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

pub(crate) use self::claim_room::ClaimRoom;
pub(crate) use self::planning::{PlanBatch, PlanOutcome, PlanToken, PlannedDelivery, PlannedProgress};
pub(crate) use self::queue_update::{DeliveryPlan, PlanEvents, QueueUpdate, QueueUpdateOutcome};
use super::{Position, Seq, StoredEvent};
use crate::base::id::CompanyId;
use crate::calls::CallRecord;

/// The id of a handler in the store; its name is the same after a restart, and so is the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandlerId(pub(super) i64);

impl fmt::Display for HandlerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// State of a delivery. The numbers are stored, and the partial indexes of the table `deliveries` depend on them:
/// states below 3 are unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Waits for its first attempt.
    Pending = 0,
    /// Claimed: an attempt is in progress or about to start.
    Running = 1,
    /// Waits for another attempt after a failed one.
    Scheduled = 2,
    /// The handler has processed the event.
    Succeeded = 3,
    /// A dead letter: failed, without further attempts.
    Dead = 4,
    /// Ended without success and without further attempts; the delivery's reason is a `SkipReason`.
    Skipped = 5,
}

impl DeliveryState {
    /// All states in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Scheduled, Self::Succeeded, Self::Dead, Self::Skipped];

    /// The state with this number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index)).copied()
    }

    /// The name in logs, metrics and `--json`, such as `pending`.
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

/// Why a delivery is skipped. An event that the handler's filter excludes has no delivery at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// The event is a revision, and the handler does not take revisions.
    Revision,
    /// The event belongs to a test call, and the handler has effects outside the receiver.
    TestCall,
    HandlerDisabled,
    /// A later event of the same call contains everything in this one.
    Superseded,
    /// An operator canceled the delivery.
    Cancelled,
    /// An operator discarded the dead letter.
    Discarded,
    Erased,
    /// The handler's filter does not match the body, which could not be read when the delivery was planned.
    Filtered,
    /// The handler found nothing to do; its attempt has the reason.
    NothingToDo,
}

impl SkipReason {
    /// The name in the store, in logs and in `--json`.
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
            Self::Filtered => "filtered",
            Self::NothingToDo => "nothing_to_do",
        }
    }
}

/// What the store needs to know about a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerRow {
    /// The name that identifies the handler across restarts.
    pub name: String,
    /// Whether the deliveries of one call are attempted in order, one at a time.
    pub ordered: bool,
    /// How long a delivery that waits for another attempt holds back later ones of its call, in milliseconds.
    pub ordering_timeout_ms: i64,
}

/// Proves a claim: two claims of one delivery have different tokens. Only the engine that made it reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseToken {
    /// The sequence number of the event.
    pub(in crate::storage) seq: Seq,
    /// The number of the claim.
    pub(in crate::storage) claim: i64,
}

#[cfg(test)]
impl LeaseToken {
    /// A token that no store has issued.
    pub(crate) fn for_test(seq: Seq) -> Self {
        Self { seq, claim: 0 }
    }
}

/// Which deliveries to claim, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// End of the lease. Until then the deliveries cannot be claimed again; the lease can be renewed.
    pub lease_until_ms: i64,
    /// Claim only deliveries that were due at this time; not later than `now_ms`.
    pub due_before_ms: i64,
    pub limit: usize,
    /// Claim deliveries that were never attempted, each of another call; others only when none is due. For the probes
    /// of a circuit breaker: an earlier failure may be due to the event.
    pub prefer_untried: bool,
    /// Maximum number of deliveries per company, including `prefetched_by_company`. Keeps the backlog of one company
    /// from filling the prefetch of a handler.
    pub limit_per_company: usize,
    /// Number of deliveries per company that are claimed already and wait for their attempt.
    pub prefetched_by_company: BTreeMap<CompanyId, usize>,
    /// Bytes of bodies after which claiming stops. A single larger delivery is still claimed.
    pub limit_bytes: u64,
    /// Claiming begins with the company after this one, so that companies take turns.
    pub after_company_id: CompanyId,
}

/// A delivery that was claimed for an attempt.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, each of which another module reads")]
pub struct ClaimedDelivery {
    pub event: StoredEvent,
    pub lease: LeaseToken,
    /// Attempts since the delivery was made, retried or replayed.
    pub previous_attempts: u32,
    /// When the delivery was made, retried or replayed, in milliseconds since the Unix epoch.
    pub queued_at_ms: i64,
    /// Whether an operator replayed the event.
    pub is_replay: bool,
    /// Whether the body could not be read before, so that the filter may not have been applied to it.
    pub body_unread: bool,
    /// Whether the delivery has never failed and no operator has retried or replayed it.
    pub is_untried: bool,
    /// Whether later deliveries of its call waited for it when it was claimed.
    pub has_followers: bool,
}

/// What a handler returned for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The handler has processed the event, or found nothing to do for it.
    Done,
    /// The attempt failed in a way that may pass.
    Retry,
    /// The attempt failed and would fail again.
    Fail,
}

impl AttemptOutcome {
    const ALL: [Self; 3] = [Self::Done, Self::Retry, Self::Fail];

    /// The name in the store and in `--json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::Fail => "fail",
        }
    }

    /// The outcome with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == name)
    }
}

/// The record of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptRecord {
    /// Number of the attempt, starting at 1.
    pub attempt: u32,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    pub duration_ms: i64,
    pub outcome: AttemptOutcome,
    /// The status code of an HTTP response, or the exit code of a program.
    pub status: Option<i32>,
    /// The cause of the failure, or why there was nothing to do; without personal data.
    pub error: Option<String>,
    /// The beginning of the response, with personal data redacted.
    pub answer: Option<String>,
}

/// The new state of a claimed delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    Succeeded,
    Scheduled {
        /// Milliseconds since the Unix epoch.
        next_attempt_at_ms: i64,
        /// The cause of the failure, without personal data.
        error: String,
    },
    Dead {
        /// The cause of the failure, without personal data.
        error: String,
    },
    /// The delivery ends without an attempt, or the attempt found nothing to do.
    Skipped {
        reason: SkipReason,
    },
    /// The claim ends without an attempt; the delivery is due again at once.
    Released,
}

/// A claimed delivery and the outcome of its attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct SettledDelivery {
    /// The sequence number of the event.
    pub seq: Seq,
    /// The token of the claim under which the attempt was made.
    pub lease: LeaseToken,
    pub settlement: Settlement,
    /// `None` when no attempt was made.
    pub attempt: Option<AttemptRecord>,
    /// Whether the body could not be read. If the delivery is dead, its body is looked for again.
    pub body_unread: bool,
    /// What the event says of its call, merged into the row of the call together with the settlement.
    pub call: Option<Box<CallRecord>>,
}

impl SettledDelivery {
    /// A delivery whose claim ends without an attempt.
    #[must_use]
    pub fn without_attempt(seq: Seq, lease: LeaseToken, settlement: Settlement) -> Self {
        Self { seq, lease, settlement, attempt: None, body_unread: false, call: None }
    }
}

/// The outcome of looking again for the bodies of dead deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyRecheck {
    /// Deliveries that are attempted again, because their bodies can be read.
    pub resumed: u64,
    /// Where to continue; `None` after the last delivery.
    pub next_after: Option<Position>,
}

/// State of a handler's circuit breaker. Stored only to be shown; a restart begins with closed breakers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Attempts are made without restriction.
    #[default]
    Closed,
    /// No attempts are made until a pause has passed.
    Open,
    /// A few attempts are made, whose outcomes close or open the breaker.
    HalfOpen,
}

impl BreakerState {
    /// All states, from no restriction to the probing one.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The name in logs, metrics and `--json`: `closed`, `open` or `half_open`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}
