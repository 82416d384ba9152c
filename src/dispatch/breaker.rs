//! The circuit breaker of a handler with effects outside: while what it calls is down, attempts rest. Pure.

use std::collections::VecDeque;

use crate::storage::BreakerState;

/// Failures in a row that open it.
const IN_A_ROW: u32 = 5;
/// The latest attempts that are looked at for a rate, and how many of them must fail.
const LOOKED_AT: usize = 20;
const TOO_MANY: usize = 10;
/// How long it stays open at first, and at most; each probe that fails doubles it.
const SHORTEST_MS: i64 = 10_000;
const LONGEST_MS: i64 = 300_000;

/// What may be attempted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Everything.
    All,
    /// One attempt, which shows whether it is better.
    Probe,
    /// Nothing before this time, in milliseconds since the Unix epoch.
    NotBefore(i64),
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    in_a_row: u32,
    latest: VecDeque<bool>,
    /// Until when it is open, and for how long it was opened.
    open: Option<(i64, i64)>,
}

impl Breaker {
    pub(super) fn allowed(&self, now_ms: i64) -> Allowed {
        match self.open {
            None => Allowed::All,
            Some((until_ms, _)) if now_ms < until_ms => Allowed::NotBefore(until_ms),
            Some(_) => Allowed::Probe,
        }
    }

    pub(super) fn state(&self, now_ms: i64) -> BreakerState {
        match self.allowed(now_ms) {
            Allowed::All => BreakerState::Closed,
            Allowed::Probe => BreakerState::HalfOpen,
            Allowed::NotBefore(_) => BreakerState::Open,
        }
    }

    /// An attempt has ended; `answered` is false when what was called could not do it now.
    pub(super) fn record(&mut self, answered: bool, now_ms: i64) {
        match (self.open, answered) {
            (Some(_), true) => *self = Self::default(),
            (Some((until_ms, for_ms)), false) => {
                // Attempts that began before it opened end later: they do not lengthen it.
                if now_ms >= until_ms {
                    let for_ms = (for_ms * 2).min(LONGEST_MS);
                    self.open = Some((now_ms.saturating_add(for_ms), for_ms));
                }
            }
            (None, _) => self.note(answered, now_ms),
        }
    }

    fn note(&mut self, answered: bool, now_ms: i64) {
        self.in_a_row = if answered { 0 } else { self.in_a_row + 1 };
        self.latest.push_back(answered);
        if self.latest.len() > LOOKED_AT {
            self.latest.pop_front();
        }
        let failed = self.latest.iter().filter(|answered| !**answered).count();
        if !answered && (self.in_a_row >= IN_A_ROW || (failed >= TOO_MANY && self.latest.len() == LOOKED_AT)) {
            self.open = Some((now_ms.saturating_add(SHORTEST_MS), SHORTEST_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        (0..5).for_each(|_| breaker.record(false, 0));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_closes_it() {
        let mut breaker = Breaker::default();
        for answered in [false, false, false, false, true, false, false, false, false] {
            breaker.record(answered, 0);
            assert_eq!(breaker.allowed(0), Allowed::All);
        }
        breaker.record(false, 0);
        assert_eq!(breaker.allowed(9_999), Allowed::NotBefore(10_000));
        assert_eq!((breaker.allowed(10_000), breaker.state(10_000)), (Allowed::Probe, BreakerState::HalfOpen));
        breaker.record(true, 10_000);
        assert_eq!((breaker.allowed(10_000), breaker.state(10_000)), (Allowed::All, BreakerState::Closed));
    }

    #[test]
    fn a_rate_of_failures_opens_it_too() {
        let mut breaker = Breaker::default();
        for at in 0..19 {
            breaker.record(at % 2 == 0, 0);
        }
        assert_eq!(breaker.allowed(0), Allowed::All);
        breaker.record(false, 0);
        assert_eq!(breaker.state(0), BreakerState::Open);
    }

    #[test]
    fn failed_probes_double_the_wait_up_to_five_minutes() {
        let mut breaker = opened();
        breaker.record(false, 5_000);
        assert_eq!(breaker.allowed(5_000), Allowed::NotBefore(10_000), "one that began earlier changes nothing");
        let mut waits = Vec::new();
        for _ in 0..6 {
            let Allowed::NotBefore(until_ms) = breaker.allowed(0) else { panic!() };
            breaker.record(false, until_ms);
            let Allowed::NotBefore(next_ms) = breaker.allowed(until_ms) else { panic!() };
            waits.push(next_ms - until_ms);
        }
        assert_eq!(waits, [20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    }
}
