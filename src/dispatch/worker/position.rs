//! What a worker knows of the store without reading it: its position in the journal, and when the next delivery is due.

use std::time::Duration;

use tokio::time::Instant;

use crate::dispatch::store_batch::{NextDue, PlanPosition, StoreBatchResult};
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
    next_due: NextDue,
    external_changes: u64,
}

impl KnownState {
    /// Forgets what other processes may have changed since the last batch.
    pub(super) fn check_external_changes(&mut self, wake_ups: &WakeUps) {
        let changes = wake_ups.external_changes();
        if changes != self.external_changes {
            self.external_changes = changes;
            self.next_due = NextDue::Unknown;
        }
    }

    /// Forgets when the next delivery is due, after changes that do not tell.
    pub(super) fn forget_due(&mut self) {
        self.next_due = NextDue::Unknown;
    }

    pub(super) fn next_due(&self) -> NextDue {
        self.next_due
    }

    pub(super) fn position(&self) -> PlanPosition {
        let is_store_due = self.unstored_since.is_some_and(|since| since.elapsed() >= MAX_UNSTORED);
        PlanPosition { token: self.token, reads_bodies: self.matches_most, is_store_due }
    }

    /// Whether a batch without new events would store the position.
    pub(super) fn has_unstored_position(&self) -> bool {
        self.unstored_since.is_some()
    }

    pub(super) fn record_batch(&mut self, batch: &StoreBatchResult) {
        self.token = batch.token;
        self.next_due = batch.next_due;
        if batch.planned.events > 0 {
            self.matches_most = 2 * batch.planned.deliveries > batch.planned.events;
        }
        let is_unstored = self.token.is_some_and(|token| !token.is_stored());
        self.unstored_since = if is_unstored { self.unstored_since.or_else(|| Some(Instant::now())) } else { None };
    }
}
