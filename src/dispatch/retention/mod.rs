//! Retention: removes what is past its time in batches of a few milliseconds, with rests in which intake has the store to
//! itself, and gives the space back.

mod rules;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use rules::{Rule, Rules};

use super::pace::Pace;
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::storage::{Along, Kept, Purge, Store, StoreError};
use crate::telemetry::retention::RemovedCounts;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(3_600);
/// Longer than anybody reads the body of an event that is gone.
const SETTLE: Duration = Duration::from_secs(3);

/// The part that does it.
pub struct Retention {
    /// Where from.
    pub store: Arc<dyn Store>,
    /// What is old.
    pub clock: Clock,
    /// Tells it to stop.
    pub supervisor: Supervisor,
    /// Counts what was removed.
    pub removed: RemovedCounts,
    /// What is removed; a change is followed at once.
    pub rules: watch::Receiver<Rules>,
}

/// What one pass came to.
#[derive(Default)]
struct Pass {
    rows: [u64; Kept::ALL.len()],
    along: Along,
    pace: Pace,
}

impl Retention {
    /// Works until the service stops.
    pub fn start(mut self) {
        let supervisor = self.supervisor.clone();
        supervisor.spawn("retention", async move {
            let stop = self.supervisor.clone();
            while !stop.is_stopping() {
                let rules = self.rules.borrow_and_update().clone();
                if let Err(error) = self.look(&rules).await {
                    tracing::warn!(%error, "retention could not remove everything; trying again in an hour");
                }
                tokio::select! {
                    () = stop.stopping() => {}
                    () = tokio::time::sleep(EVERY) => {}
                    Ok(()) = self.rules.changed() => {}
                }
            }
        });
    }

    async fn look(&self, rules: &Rules) -> Result<(), StoreError> {
        let mut pass = Pass::default();
        let removed = self.remove(rules, &mut pass).await;
        pass.report();
        removed?;
        // Also what an erasure left behind, if it was interrupted.
        let freed_before_ms = self.clock.now_ms().saturating_add(1);
        self.pause(SETTLE).await;
        let mut more = true;
        while more && !self.supervisor.is_stopping() {
            let began = pass.begin(&*self.store);
            more = self.store.give_back_space(freed_before_ms).await?;
            self.pause(pass.rest(&*self.store, began)).await;
        }
        Ok(())
    }

    async fn remove(&self, rules: &Rules, pass: &mut Pass) -> Result<(), StoreError> {
        for rule in &rules.ages {
            let mut next = Some(rules.purge(rule, self.clock.now_ms()));
            while let Some(purge) = next {
                next = self.batch(purge, pass).await?;
            }
        }
        let Some(max_bytes) = rules.max_bytes else { return Ok(()) };
        let mut next = Some(rules.oldest(self.clock.now_ms()));
        while self.store.used_bytes().await? > max_bytes && !self.supervisor.is_stopping() {
            let Some(purge) = next else {
                tracing::warn!(
                    max_bytes,
                    "the store is larger than retention.max_bytes, and no event may go: deliveries wait, or it is other data"
                );
                return Ok(());
            };
            next = self.batch(purge, pass).await?;
        }
        Ok(())
    }

    /// One batch, and a rest at least as long. The next one; none when it is the last, or the service stops.
    async fn batch(&self, purge: Purge, pass: &mut Pass) -> Result<Option<Purge>, StoreError> {
        if self.supervisor.is_stopping() {
            return Ok(None);
        }
        let began = pass.begin(&*self.store);
        let purged = self.store.purge(purge.clone()).await?;
        pass.add(purge.kept, purged.removed);
        pass.along += purged.along;
        self.removed.add(purge.kept.as_str(), purged.removed);
        self.pause(pass.rest(&*self.store, began)).await;
        Ok(purged.next.map(|after| Purge { after, ..purge }))
    }

    async fn pause(&self, rest: Duration) {
        tokio::select! {
            () = self.supervisor.stopping() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

impl Pass {
    fn begin(&mut self, store: &dyn Store) -> Instant {
        self.pace.begin(store.appended_so_far());
        Instant::now()
    }

    fn rest(&self, store: &dyn Store, began: Instant) -> Duration {
        self.pace.rest(store.appended_so_far()).max(began.elapsed())
    }

    fn report(&self) {
        if self.rows.iter().any(|rows| *rows > 0) {
            let [events, deliveries, attempts, calls, rejected] = self.rows;
            let body_bytes = self.along.body_bytes;
            tracing::info!(events, deliveries, attempts, calls, rejected, body_bytes, "retention removed");
        }
    }

    fn add(&mut self, kept: Kept, rows: u64) {
        if let Some(position) = Kept::ALL.iter().position(|known| *known == kept) {
            self.rows[position] += rows;
        }
    }
}
