//! The bound on the bodies that all workers of a receiver hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Body bytes that all workers of a receiver may have claimed at one time. With the limit per handler it takes effect
/// above 32 handlers that have a backlog at the same time. A worker that holds nothing may exceed it by one delivery,
/// so that each handler makes progress.
const MAX_PREFETCH_BYTES_TOTAL: i64 = 64 * 1024 * 1024;

/// The bytes that are left. Clones share them.
#[derive(Clone)]
pub(super) struct PrefetchBudget(Arc<AtomicI64>);

impl Default for PrefetchBudget {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(MAX_PREFETCH_BYTES_TOTAL)))
    }
}

/// The part of the budget that one worker uses. Returned when it is dropped.
pub(super) struct PrefetchShare {
    budget: PrefetchBudget,
    bytes: i64,
}

impl PrefetchShare {
    pub(super) fn new(budget: PrefetchBudget) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Makes the share as large as what the worker holds, and reserves up to `wanted_bytes` more. Returns the bytes that
    /// were reserved; the next call returns those that are not in use. A worker that waits reserves nothing: idle
    /// workers could otherwise reserve the whole budget.
    pub(super) fn resize(&mut self, held_bytes: u64, wanted_bytes: u64) -> u64 {
        let held = i64::try_from(held_bytes).unwrap_or(i64::MAX);
        let wanted = i64::try_from(wanted_bytes).unwrap_or(i64::MAX);
        let mut reserved = 0;
        let previous_bytes = self.bytes;
        self.budget.0.update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            let free = left.saturating_add(previous_bytes).saturating_sub(held);
            // The budget is exceeded by single large deliveries, so `free` can be negative.
            reserved = wanted.min(free.max(0));
            free - reserved
        });
        self.bytes = held.saturating_add(reserved);
        reserved.unsigned_abs()
    }
}

impl Drop for PrefetchShare {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn workers_share_the_budget() {
        let budget = PrefetchBudget::default();
        let mut first = PrefetchShare::new(budget.clone());
        let mut second = PrefetchShare::new(budget.clone());
        assert_eq!(first.resize(0, 60 * MIB), 60 * MIB);
        assert_eq!(second.resize(0, 10 * MIB), 4 * MIB);
        assert_eq!(first.resize(50 * MIB, 0), 0, "of the reserved bytes 50 MiB were used");
        assert_eq!(second.resize(4 * MIB, 10 * MIB), 10 * MIB);
        drop(first);
        assert_eq!(second.resize(0, 100 * MIB), 64 * MIB);
        drop(second);
        assert_eq!(PrefetchShare::new(budget).resize(0, 100 * MIB), 64 * MIB);
    }

    #[test]
    fn a_share_above_the_budget_leaves_nothing() {
        let budget = PrefetchBudget::default();
        let mut large = PrefetchShare::new(budget.clone());
        assert_eq!(large.resize(70 * MIB, MIB), 0);
        let mut other = PrefetchShare::new(budget);
        assert_eq!(other.resize(0, MIB), 0);
        assert_eq!(large.resize(0, 0), 0);
        assert_eq!(other.resize(0, MIB), MIB);
    }
}
