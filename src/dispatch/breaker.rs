//! The circuit breaker of a handler with effects outside: while what it calls is down, attempts rest. Pure.

use std::collections::VecDeque;

use crate::storage::BreakerState;

/// Failures in a row that open it.
const MAX_CONSECUTIVE_FAILURES: u32 = 5;
/// The latest attempts that are looked at for a rate, and how many of them must fail.
const WINDOW_ATTEMPTS: usize = 20;
const MAX_WINDOW_FAILURES: usize = 10;
/// How long it stays open at first, and at most; each probe that fails doubles it.
const MIN_OPEN_MS: i64 = 10_000;
const MAX_OPEN_MS: i64 = 300_000;

/// What may be attempted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerDecision {
    /// Everything.
    Allow,
    /// One attempt, which shows whether it is better.
    Probe,
    /// Nothing before this time, in milliseconds since the Unix epoch.
    DenyUntil(i64),
}

#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    consecutive_failures: u32,
    recent_results: VecDeque<bool>,
    /// Until when it is open, and for how long it was opened.
    opened: Option<(i64, i64)>,
}

impl CircuitBreaker {
    pub(super) fn check(&self, now_ms: i64) -> BreakerDecision {
        match self.opened {
            None => BreakerDecision::Allow,
            Some((until_ms, _)) if now_ms < until_ms => BreakerDecision::DenyUntil(until_ms),
            Some(_) => BreakerDecision::Probe,
        }
    }

    pub(super) fn state(&self, now_ms: i64) -> BreakerState {
        match self.check(now_ms) {
            BreakerDecision::Allow => BreakerState::Closed,
            BreakerDecision::Probe => BreakerState::HalfOpen,
            BreakerDecision::DenyUntil(_) => BreakerState::Open,
        }
    }

    /// An attempt has ended; `answered` is false when what was called could not do it now.
    pub(super) fn record_attempt(&mut self, answered: bool, now_ms: i64) {
        match (self.opened, answered) {
            (Some(_), true) => *self = Self::default(),
            (Some((until_ms, for_ms)), false) => {
                // Attempts that began before it opened end later: they do not lengthen it.
                if now_ms >= until_ms {
                    let for_ms = (for_ms * 2).min(MAX_OPEN_MS);
                    self.opened = Some((now_ms.saturating_add(for_ms), for_ms));
                }
            }
            (None, _) => self.record_while_closed(answered, now_ms),
        }
    }

    fn record_while_closed(&mut self, answered: bool, now_ms: i64) {
        self.consecutive_failures = if answered { 0 } else { self.consecutive_failures + 1 };
        self.recent_results.push_back(answered);
        if self.recent_results.len() > WINDOW_ATTEMPTS {
            self.recent_results.pop_front();
        }
        let failed = self.recent_results.iter().filter(|answered| !**answered).count();
        if !answered
            && (self.consecutive_failures >= MAX_CONSECUTIVE_FAILURES
                || (failed >= MAX_WINDOW_FAILURES && self.recent_results.len() == WINDOW_ATTEMPTS))
        {
            self.opened = Some((now_ms.saturating_add(MIN_OPEN_MS), MIN_OPEN_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_breaker() -> CircuitBreaker {
        let mut breaker = CircuitBreaker::default();
        (0..5).for_each(|_| breaker.record_attempt(false, 0));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_closes_it() {
        let mut breaker = CircuitBreaker::default();
        for answered in [false, false, false, false, true, false, false, false, false] {
            breaker.record_attempt(answered, 0);
            assert_eq!(breaker.check(0), BreakerDecision::Allow);
        }
        breaker.record_attempt(false, 0);
        assert_eq!(breaker.check(9_999), BreakerDecision::DenyUntil(10_000));
        assert_eq!((breaker.check(10_000), breaker.state(10_000)), (BreakerDecision::Probe, BreakerState::HalfOpen));
        breaker.record_attempt(true, 10_000);
        assert_eq!((breaker.check(10_000), breaker.state(10_000)), (BreakerDecision::Allow, BreakerState::Closed));
    }

    #[test]
    fn a_rate_of_failures_opens_it_too() {
        let mut breaker = CircuitBreaker::default();
        for at in 0..19 {
            breaker.record_attempt(at % 2 == 0, 0);
        }
        assert_eq!(breaker.check(0), BreakerDecision::Allow);
        breaker.record_attempt(false, 0);
        assert_eq!(breaker.state(0), BreakerState::Open);
    }

    #[test]
    fn failed_probes_double_the_wait_up_to_five_minutes() {
        let mut breaker = open_breaker();
        breaker.record_attempt(false, 5_000);
        assert_eq!(breaker.check(5_000), BreakerDecision::DenyUntil(10_000), "one that began earlier changes nothing");
        let mut waits = Vec::new();
        for _ in 0..6 {
            let BreakerDecision::DenyUntil(until_ms) = breaker.check(0) else { panic!() };
            breaker.record_attempt(false, until_ms);
            let BreakerDecision::DenyUntil(next_ms) = breaker.check(until_ms) else { panic!() };
            waits.push(next_ms - until_ms);
        }
        assert_eq!(waits, [20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    }
}
