//! What a worker knows of the store without reading it: its position in the journal, and when the next delivery is due.

use std::time::Duration;

use tokio::time::Instant;

use crate::dispatch::event_read::{PlanPosition, ReadEvents};
use crate::dispatch::store_batch::{NextDue, StoreBatchResult};
use crate::storage::{PlanToken, WakeUps};

/// How long the position is kept in memory only, while events arrive that become no delivery. After a crash these events
/// are looked at again.
const MAX_UNSTORED: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct KnownState {
    token: Option<PlanToken>,
    /// Since when the token is ahead of the stored position.
    unstored_since: Option<Instant>,
    /// Whether most events of the last batch became deliveries.
    matches_most: bool,
    /// Whether the journal may have events after the token that no change of the store announces.
    may_have_more: bool,
    next_due: NextDue,
    /// Number of deliveries in the store that have not ended, if known.
    unfinished: Option<usize>,
    external_changes: u64,
}

impl KnownState {
    /// Forgets what other processes may have changed since the last batch.
    pub(super) fn check_external_changes(&mut self, wake_ups: &WakeUps) {
        let changes = wake_ups.external_changes();
        if changes != self.external_changes {
            self.external_changes = changes;
            self.forget_due();
        }
    }

    /// Forgets which deliveries have not ended, after changes that do not tell.
    pub(super) fn forget_due(&mut self) {
        self.next_due = NextDue::Unknown;
        self.unfinished = None;
    }

    pub(super) fn unfinished(&self) -> Option<usize> {
        self.unfinished
    }

    pub(super) fn next_due(&self) -> NextDue {
        self.next_due
    }

    /// Where to read on, `after` a plan that is being stored or else after the last events that were read.
    pub(super) fn position(&self, after: Option<PlanToken>, has_room: bool) -> PlanPosition {
        let is_store_due = self.unstored_since.is_some_and(|since| since.elapsed() >= MAX_UNSTORED);
        PlanPosition { token: after.or(self.token), reads_bodies: self.matches_most && has_room, is_store_due }
    }

    /// Whether a batch without new events would store the position.
    pub(super) fn has_unstored_position(&self) -> bool {
        self.unstored_since.is_some()
    }

    pub(super) fn may_have_more(&self) -> bool {
        self.may_have_more
    }

    /// Whether there is something to read although the store has not changed.
    pub(super) fn needs_read(&self) -> bool {
        self.token.is_none() || self.may_have_more || self.has_unstored_position()
    }

    pub(super) fn record_read(&mut self, read: &ReadEvents) {
        self.token = read.token;
        self.may_have_more = read.counts.may_have_more;
        if read.counts.events > 0 {
            self.matches_most = 2 * read.counts.deliveries > read.counts.events;
        }
        // With a plan the position is stored now.
        let is_unstored = read.plan.is_none() && self.token.is_some_and(|token| !token.is_stored());
        self.unstored_since = if is_unstored { self.unstored_since.or_else(|| Some(Instant::now())) } else { None };
    }

    /// Records that the events could not be read.
    pub(super) fn record_failed_read(&mut self) {
        self.may_have_more = true;
    }

    pub(super) fn record_stored_plan(&mut self, plan: PlanToken) {
        // Unless further events were read meanwhile.
        if self.token == Some(plan) {
            self.token = Some(plan.when_stored());
        }
    }

    /// Forgets the position, after others have moved it.
    pub(super) fn forget_position(&mut self) {
        self.token = None;
        self.unstored_since = None;
    }

    pub(super) fn record_batch(&mut self, batch: &StoreBatchResult) {
        self.next_due = batch.next_due;
        self.unfinished = match batch.next_due {
            NextDue::Unknown => None,
            // A batch that wrote nothing has counted nothing.
            NextDue::Known(_) => batch.unfinished.or(self.unfinished),
        };
    }
}
