//! What a worker claims, and which of its leases it renews.

use super::breaker::{BreakerDecision, PROBES};
use super::lease::LeaseTimer;
use super::store_batch::{LeaseRenewal, MAX_ROWS_PER_BATCH};
use super::worker::Worker;
use crate::base::clock::to_ms;
use crate::storage::{ClaimRequest, LeaseToken, StoreError};

/// Deliveries claimed ahead, so that a fast handler does not wait for the store: per company, and in total.
const MAX_PREFETCH_PER_COMPANY: usize = 512;
const MAX_PREFETCH: usize = 2_048;
/// Body bytes held per handler. A single larger body is delivered all the same. All handlers together are bounded by
/// [`PrefetchBudget`](super::budget::PrefetchBudget).
const MAX_PREFETCH_BYTES: u64 = 2 * 1024 * 1024;

impl Worker {
    /// What the next store batch may claim; `None` while the prefetch queue is full.
    pub(super) fn build_claim(&mut self) -> Option<ClaimRequest> {
        let now_ms = self.now_ms();
        let decision = self.breaker.check(now_ms);
        let (limit, due_before_ms) = match decision {
            BreakerDecision::Allow if self.handler.enabled => (MAX_PREFETCH, now_ms),
            // Probes are claimed only when nothing else is queued or running: their outcomes decide about the breaker.
            BreakerDecision::Probe if self.handler.enabled => {
                (if self.prefetch.is_idle() { PROBES } else { 0 }, now_ms)
            }
            // Open or disabled: nothing may be attempted, but deliveries past their maximum age must still end as
            // dead.
            _ => (MAX_PREFETCH, now_ms.saturating_sub(to_ms(self.handler.delivery.max_age))),
        };
        let prefetched_by_company = self.prefetch.queued_by_company();
        let limit = limit.saturating_sub(prefetched_by_company.values().sum()).min(MAX_ROWS_PER_BATCH);
        if limit == 0 {
            return None;
        }
        let limit_bytes = self.reserve_prefetch_bytes();
        if limit_bytes == 0 {
            return None;
        }
        Some(ClaimRequest {
            now_ms,
            lease_until_ms: LeaseTimer::end_ms(now_ms),
            due_before_ms,
            limit,
            prefer_untried: decision == BreakerDecision::Probe,
            limit_per_company: self.prefetch_limit.max(PROBES),
            prefetched_by_company,
            limit_bytes,
            after_company_id: self.company_after,
        })
    }

    /// Body bytes that the next batch may claim. What the batch leaves of them is returned when it has been applied.
    fn reserve_prefetch_bytes(&mut self) -> u64 {
        let held_bytes = self.prefetch.held_bytes();
        let reserved = self.prefetch_share.resize(held_bytes, MAX_PREFETCH_BYTES.saturating_sub(held_bytes));
        // One delivery of any size, even if the other handlers use the whole budget.
        if self.prefetch.is_idle() { reserved.max(1) } else { reserved }
    }

    /// Doubles the limit while the handler empties its queue within one batch, and halves it otherwise. A fast
    /// handler gets enough work; a slow one holds few claims, which other receivers can then make.
    pub(super) fn adapt_prefetch_limit(&mut self) {
        let min_limit = 2 * usize::from(self.handler.delivery.concurrency);
        let adapted = if self.prefetch.has_no_queued() { self.prefetch_limit * 2 } else { self.prefetch_limit / 2 };
        self.prefetch_limit = adapted.clamp(min_limit, MAX_PREFETCH_PER_COMPANY.max(min_limit));
    }

    /// The leases that have to be renewed now: of queued and running deliveries, and of those whose settlement is not
    /// stored yet.
    pub(super) fn leases_to_renew(&mut self) -> Vec<LeaseToken> {
        let now_ms = self.now_ms();
        if self.prefetch.is_idle() && self.unstored_settlements.is_empty() {
            self.lease_timer.record_renewal(now_ms);
            return Vec::new();
        }
        if !self.lease_timer.due_in(now_ms).is_zero() {
            return Vec::new();
        }
        // Deliveries of open plans have no row yet.
        let without_row = self.leases_without_row();
        let unstored = self.unstored_settlements.iter().map(|settled| settled.lease);
        self.prefetch.leases().chain(unstored).filter(|lease| !without_row.contains(lease)).collect()
    }

    /// Whether further deliveries can be claimed, as far as this handler alone goes.
    pub(super) fn has_prefetch_room(&self) -> bool {
        let queued: usize = self.prefetch.queued_by_company().values().sum();
        queued < MAX_PREFETCH && self.prefetch.held_bytes() < MAX_PREFETCH_BYTES
    }

    /// Drops queued deliveries whose lease was lost: another worker has claimed them, or an operator has ended them. An
    /// attempt that is running continues, and its settlement is refused.
    pub(super) fn apply_renewal(&mut self, renewal: &LeaseRenewal) {
        self.lease_timer.record_renewal(renewal.renewed_at_ms);
        if renewal.lost.is_empty() {
            return;
        }
        tracing::warn!(handler = %self.handler.name, count = renewal.lost.len(), "leases lost");
        self.prefetch.remove_matching(|claimed| renewal.lost.contains(&claimed.lease).then_some(()));
    }

    /// Renews the leases if it is time, for the shutdown: no store batch does it then.
    pub(super) async fn renew_leases(&mut self) -> Result<(), StoreError> {
        let leases = self.leases_to_renew();
        if leases.is_empty() {
            return Ok(());
        }
        let renewed_at_ms = self.now_ms();
        let lease_until_ms = LeaseTimer::end_ms(renewed_at_ms);
        let lost = self.deps.queue.renew_leases(self.handler_id, leases, lease_until_ms).await?;
        self.apply_renewal(&LeaseRenewal { renewed_at_ms, lost });
        Ok(())
    }
}
