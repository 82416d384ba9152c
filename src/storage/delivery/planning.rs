//! The deliveries that events become, before they are stored.

use super::{LeaseToken, PlanEvents, SettledDelivery, SkipReason};
use crate::storage::Seq;

/// A delivery to be made for an event.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedDelivery {
    /// The sequence number of the event.
    pub seq: Seq,
    /// `None` for a delivery that is to be attempted.
    pub skip_reason: Option<SkipReason>,
    /// Whether it replaces pending deliveries of the same call and event kind.
    pub supersedes: bool,
    /// Whether the filter has conditions on the body, and the body could not be read.
    pub body_unread: bool,
    pub progress: PlannedProgress,
}

impl PlannedDelivery {
    /// A delivery that is attempted after it was stored.
    #[must_use]
    pub fn new(seq: Seq) -> Self {
        Self { seq, skip_reason: None, supersedes: false, body_unread: false, progress: PlannedProgress::Waiting }
    }
}

/// How far a delivery has come before it is stored. Only the worker of the only receiver may attempt it before.
#[derive(Clone, Debug, PartialEq)]
pub enum PlannedProgress {
    Waiting,
    /// Its first attempt has begun, or is about to.
    Running(LeaseToken),
    Ended(Box<SettledDelivery>),
}

/// The next events of the journal for one handler, oldest first.
#[derive(Clone, Debug)]
pub struct PlanBatch {
    pub events: PlanEvents,
    /// Names this batch when its deliveries are planned.
    pub token: PlanToken,
    /// The number of the claim under which its deliveries may be attempted before they are stored.
    pub(in crate::storage) claim: i64,
}

impl PlanBatch {
    /// The lease of a delivery that is attempted before it is stored.
    pub(crate) fn lease(&self, seq: Seq) -> LeaseToken {
        LeaseToken { seq, claim: self.claim }
    }
}

/// Names a [`PlanBatch`]. Only the engine that made it reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanToken {
    /// The stored position of the handler in the journal. It is before the batch when earlier batches became no
    /// delivery and were not stored.
    pub(in crate::storage) from: i64,
    /// The last event of the batch, which is the handler's next position.
    pub(in crate::storage) through: i64,
}

impl PlanToken {
    /// Where to continue once the batch is planned.
    pub(crate) fn when_stored(self) -> Self {
        Self { from: self.through, through: self.through }
    }

    /// Whether batches were read that are not stored.
    pub(crate) fn is_stored(self) -> bool {
        self.from == self.through
    }
}

/// The result of planning a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanOutcome {
    Planned,
    /// Nothing was planned, because the events of the batch had been planned already. Take the next batch.
    Stale,
}
