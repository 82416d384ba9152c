//! The leases of a worker: short, so that another receiver can take over soon after a crash, and renewed for as long as the
//! worker holds their deliveries.

use std::time::Duration;

/// How long a claimed delivery belongs to its worker without renewal.
const LEASE_MS: i64 = 30_000;
/// Time between renewals: two may fail before a lease ends.
const RENEWAL_INTERVAL_MS: i64 = 10_000;

/// When all leases of a worker were renewed together. Each of them ends at [`LeaseTimer::end_ms`] or later.
///
/// Wall-clock time, because it is compared with the clocks of other receivers. When the clock is set, or the machine was
/// suspended, a renewal is due at once.
pub(super) struct LeaseTimer {
    renewed_at_ms: i64,
}

impl LeaseTimer {
    pub(super) fn new(now_ms: i64) -> Self {
        Self { renewed_at_ms: now_ms }
    }

    /// Records a renewal, or that no leases were held at this time.
    pub(super) fn record_renewal(&mut self, now_ms: i64) {
        self.renewed_at_ms = now_ms;
    }

    /// The end of a lease that is acquired or renewed now.
    pub(super) fn end_ms(now_ms: i64) -> i64 {
        now_ms.saturating_add(LEASE_MS)
    }

    /// Time until the leases have to be renewed.
    pub(super) fn due_in(&self, now_ms: i64) -> Duration {
        let elapsed_ms = now_ms.saturating_sub(self.renewed_at_ms);
        let is_due = !(0..RENEWAL_INTERVAL_MS).contains(&elapsed_ms);
        if is_due { Duration::ZERO } else { Duration::from_millis((RENEWAL_INTERVAL_MS - elapsed_ms).unsigned_abs()) }
    }

    /// Whether leases may have ended, so that another worker may have claimed their deliveries.
    pub(super) fn may_have_ended(&self, now_ms: i64) -> bool {
        now_ms >= Self::end_ms(self.renewed_at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_renewed_before_they_end() {
        let mut timer = LeaseTimer::new(0);
        assert_eq!((timer.due_in(4_000), timer.due_in(10_000)), (Duration::from_secs(6), Duration::ZERO));
        assert!(!timer.may_have_ended(29_999) && timer.may_have_ended(30_000));
        timer.record_renewal(10_000);
        assert_eq!((timer.due_in(10_000), LeaseTimer::end_ms(10_000)), (Duration::from_secs(10), 40_000));
        assert!(!timer.may_have_ended(39_999));
    }

    #[test]
    fn a_renewal_is_due_after_the_clock_was_set_back() {
        let timer = LeaseTimer::new(100_000);
        assert_eq!(timer.due_in(99_999), Duration::ZERO);
        assert!(!timer.may_have_ended(99_999));
    }
}
