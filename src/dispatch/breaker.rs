//! Circuit breaker of a handler with external effects: stops attempts while its destination is down. No I/O and no
//! clock.
//!
//! It protects the destination from a backlog that retries, and the backlog from the destination: without it, an
//! outage of an hour would use up the retry schedule of every delivery that waits.
//!
//! It must not take events that a working destination refuses for an outage, or they would delay all others. So only
//! first attempts count, each call once, and a success outweighs them: the breaker does not open soon after one, and
//! one closes it.

use std::collections::BTreeSet;

use crate::handlers::DestinationHealth;
use crate::storage::BreakerState;

/// Calls whose first attempts failed without a success in between, which open the breaker.
const MAX_FAILED_CALLS: usize = 5;
/// The breaker does not open for this long after a success.
const SUCCESS_HOLD_MS: i64 = 5_000;
/// Time the breaker stays open the first time, and at most. Each failed round of probes doubles it.
const MIN_OPEN_MS: i64 = 10_000;
const MAX_OPEN_MS: i64 = 300_000;
/// Probes of a round, each of another call. With a single one, an event that the destination refuses could keep the
/// breaker open.
pub(super) const PROBES: usize = 3;
/// Failed calls that are remembered. It bounds the memory of a long outage; a call that is not remembered counts again.
const MAX_REMEMBERED_CALLS: usize = 1_000;

/// Whether attempts may be started now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerDecision {
    Allow,
    /// Half-open: a round of [`PROBES`] attempts, whose outcomes close or open the breaker.
    Probe,
    /// No attempt before this time, in milliseconds since the Unix epoch.
    DenyUntil(i64),
}

/// An attempt that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct BreakerInput<'a> {
    pub(super) health: DestinationHealth,
    /// The call of the event, or the event itself if it has none.
    pub(super) call: &'a str,
    /// Whether this was the first attempt since the delivery was planned, retried or replayed.
    pub(super) is_first_attempt: bool,
    /// Whether the delivery had never been attempted before, not even before an operator retried or replayed it.
    pub(super) was_untried: bool,
    /// Whether no other attempt is running or queued.
    pub(super) is_last: bool,
}

/// Times in milliseconds; kept after `until_ms` while the breaker is half-open, for the next doubling.
#[derive(Clone, Copy, Debug)]
struct OpenPeriod {
    until_ms: i64,
    duration_ms: i64,
    /// Whether a probe was started. Attempts that were started before the breaker opened are not probes.
    is_probing: bool,
    /// The duration of the next period, once a probe has failed.
    next_duration_ms: Option<i64>,
}

impl OpenPeriod {
    fn starting_at(now_ms: i64, duration_ms: i64) -> Self {
        let until_ms = now_ms.saturating_add(duration_ms);
        Self { until_ms, duration_ms, is_probing: false, next_duration_ms: None }
    }
}

#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    /// The calls that failed since the last success.
    failed_calls: BTreeSet<String>,
    last_success_ms: Option<i64>,
    open: Option<OpenPeriod>,
}

impl CircuitBreaker {
    pub(super) fn check(&self, now_ms: i64) -> BreakerDecision {
        match self.open {
            None => BreakerDecision::Allow,
            // The clock was set back since the breaker opened if more is left than it was opened for.
            Some(open) if (1..=open.duration_ms).contains(&open.until_ms.saturating_sub(now_ms)) => {
                BreakerDecision::DenyUntil(open.until_ms)
            }
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

    /// Records that an attempt was started as a probe.
    pub(super) fn start_probe(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = true;
        }
    }

    pub(super) fn record_attempt(&mut self, input: BreakerInput, now_ms: i64) {
        match input.health {
            DestinationHealth::Up => *self = Self { last_success_ms: Some(now_ms), ..Self::default() },
            // The destination is back. This does not count as a success: one that refuses some events and fails all
            // others is down.
            DestinationHealth::RefusedEvent if self.is_probing(now_ms) => {
                *self = Self { last_success_ms: self.last_success_ms, ..Self::default() };
            }
            DestinationHealth::Down => self.record_failure(input, now_ms),
            DestinationHealth::RefusedEvent | DestinationHealth::Unknown => {}
        }
        if input.is_last && self.is_probing(now_ms) {
            self.end_round(now_ms);
        }
    }

    fn is_probing(&self, now_ms: i64) -> bool {
        self.check(now_ms) == BreakerDecision::Probe && self.open.is_some_and(|open| open.is_probing)
    }

    fn record_failure(&mut self, input: BreakerInput, now_ms: i64) {
        let is_new = input.is_first_attempt && self.remember_failed_call(input.call);
        if self.is_probing(now_ms)
            && let Some(open) = &mut self.open
        {
            // A retry, or a further event of a call that has failed, may fail because of its event, so it must not
            // make later events wait longer.
            let factor = if is_new && input.was_untried { 2 } else { 1 };
            let duration_ms = (open.duration_ms * factor).min(MAX_OPEN_MS);
            open.next_duration_ms = open.next_duration_ms.max(Some(duration_ms));
        }
        // While it is open, only attempts end that were started before. They are part of the same outage.
        let may_open = self.open.is_none() && input.is_first_attempt && !self.had_recent_success(now_ms);
        if may_open && self.failed_calls.len() >= MAX_FAILED_CALLS {
            self.open = Some(OpenPeriod::starting_at(now_ms, MIN_OPEN_MS));
        }
    }

    /// Returns false for a call that is known already.
    fn remember_failed_call(&mut self, call: &str) -> bool {
        if self.failed_calls.contains(call) {
            return false;
        }
        if self.failed_calls.len() < MAX_REMEMBERED_CALLS {
            self.failed_calls.insert(call.to_owned());
        }
        true
    }

    /// False after the clock was set back to before the success.
    fn had_recent_success(&self, now_ms: i64) -> bool {
        self.last_success_ms.is_some_and(|at_ms| (0..SUCCESS_HOLD_MS).contains(&now_ms.saturating_sub(at_ms)))
    }

    fn end_round(&mut self, now_ms: i64) {
        if let Some(open) = &mut self.open {
            open.is_probing = false;
            if let Some(duration_ms) = open.next_duration_ms {
                self.open = Some(OpenPeriod::starting_at(now_ms, duration_ms));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: BreakerInput = BreakerInput {
        health: DestinationHealth::Down,
        call: "call",
        is_first_attempt: true,
        was_untried: true,
        is_last: true,
    };

    fn fail_calls(breaker: &mut CircuitBreaker, calls: std::ops::Range<u32>, now_ms: i64) {
        for call in calls {
            breaker.record_attempt(BreakerInput { call: &format!("call_{call}"), ..FIRST }, now_ms);
        }
    }

    fn open_breaker() -> CircuitBreaker {
        let mut breaker = CircuitBreaker::default();
        fail_calls(&mut breaker, 0..5, 0);
        breaker
    }

    fn succeed(breaker: &mut CircuitBreaker, now_ms: i64) {
        breaker.record_attempt(BreakerInput { health: DestinationHealth::Up, ..FIRST }, now_ms);
    }

    fn refuse(breaker: &mut CircuitBreaker, now_ms: i64) {
        breaker.record_attempt(BreakerInput { health: DestinationHealth::RefusedEvent, ..FIRST }, now_ms);
    }

    /// One failed probe at the end of the open period; returns the wait after it.
    fn fail_probe(breaker: &mut CircuitBreaker, now_ms: i64, input: BreakerInput) -> i64 {
        let BreakerDecision::DenyUntil(until_ms) = breaker.check(now_ms) else { panic!("{breaker:?}") };
        breaker.start_probe();
        breaker.record_attempt(input, until_ms);
        let BreakerDecision::DenyUntil(next_ms) = breaker.check(until_ms) else { panic!("{breaker:?}") };
        next_ms - until_ms
    }

    #[test]
    fn failures_of_five_calls_open_it_and_a_success_closes_it() {
        let mut breaker = CircuitBreaker::default();
        fail_calls(&mut breaker, 0..4, 0);
        assert_eq!(breaker.check(0), BreakerDecision::Allow);
        fail_calls(&mut breaker, 4..5, 0);
        assert_eq!(breaker.check(9_999), BreakerDecision::DenyUntil(10_000));
        assert_eq!((breaker.check(10_000), breaker.state(10_000)), (BreakerDecision::Probe, BreakerState::HalfOpen));
        breaker.start_probe();
        succeed(&mut breaker, 10_000);
        assert_eq!((breaker.check(10_000), breaker.state(10_000)), (BreakerDecision::Allow, BreakerState::Closed));
    }

    #[test]
    fn a_success_before_the_fifth_call_starts_the_count_again() {
        let mut breaker = CircuitBreaker::default();
        fail_calls(&mut breaker, 0..4, 0);
        succeed(&mut breaker, 0);
        fail_calls(&mut breaker, 4..8, 60_000);
        assert_eq!(breaker.check(60_000), BreakerDecision::Allow);
    }

    #[test]
    fn it_stays_closed_for_five_seconds_after_a_success() {
        let mut breaker = CircuitBreaker::default();
        succeed(&mut breaker, 1_000);
        fail_calls(&mut breaker, 0..50, 5_999);
        assert_eq!(breaker.check(5_999), BreakerDecision::Allow);
        fail_calls(&mut breaker, 50..51, 6_000);
        assert_eq!(breaker.check(6_000), BreakerDecision::DenyUntil(16_000));
    }

    #[test]
    fn retries_one_call_and_refusals_do_not_open_it() {
        let mut breaker = CircuitBreaker::default();
        fail_calls(&mut breaker, 0..4, 0);
        for call in 10..40 {
            let call = format!("call_{call}");
            breaker.record_attempt(BreakerInput { call: &call, is_first_attempt: false, ..FIRST }, 0);
            breaker.record_attempt(BreakerInput { call: "call_0", ..FIRST }, 0);
            refuse(&mut breaker, 0);
        }
        assert_eq!(breaker.check(0), BreakerDecision::Allow);
    }

    #[test]
    fn calls_beyond_those_remembered_still_open_it() {
        let mut breaker = CircuitBreaker::default();
        succeed(&mut breaker, 0);
        fail_calls(&mut breaker, 0..2_000, 1);
        assert_eq!(breaker.check(1), BreakerDecision::Allow);
        fail_calls(&mut breaker, 2_000..2_001, 5_000);
        assert_eq!(breaker.state(5_000), BreakerState::Open);
    }

    #[test]
    fn a_round_ends_with_its_last_probe() {
        let mut breaker = open_breaker();
        breaker.start_probe();
        for call in ["a", "b"] {
            breaker.record_attempt(BreakerInput { call, is_last: false, ..FIRST }, 10_000);
            assert_eq!(breaker.check(10_000), BreakerDecision::Probe, "another probe is running");
        }
        let unknown = BreakerInput { health: DestinationHealth::Unknown, ..FIRST };
        breaker.record_attempt(unknown, 10_000);
        assert_eq!(breaker.check(10_000), BreakerDecision::DenyUntil(30_000));
        breaker.start_probe();
        breaker.record_attempt(unknown, 30_000);
        assert_eq!(breaker.check(30_000), BreakerDecision::Probe, "the destination was not asked");
        breaker.start_probe();
        refuse(&mut breaker, 30_000);
        assert_eq!(breaker.check(30_000), BreakerDecision::Allow, "a refusal is a response");
    }

    #[test]
    fn attempts_started_before_it_opened_are_no_probes() {
        let mut breaker = open_breaker();
        fail_calls(&mut breaker, 5..7, 5_000);
        assert_eq!(breaker.check(5_000), BreakerDecision::DenyUntil(10_000));
        fail_calls(&mut breaker, 7..8, 12_000);
        refuse(&mut breaker, 12_000);
        assert_eq!(breaker.check(12_000), BreakerDecision::Probe);
        succeed(&mut breaker, 12_000);
        assert_eq!(breaker.check(12_000), BreakerDecision::Allow);
    }

    #[test]
    fn it_does_not_stay_open_after_the_clock_was_set_back() {
        let mut breaker = CircuitBreaker::default();
        succeed(&mut breaker, 86_400_000);
        fail_calls(&mut breaker, 0..5, 86_400_000);
        fail_calls(&mut breaker, 5..6, 86_300_000);
        assert_eq!(breaker.check(86_300_000), BreakerDecision::DenyUntil(86_310_000), "the success is in the future");
        assert_eq!(breaker.check(0), BreakerDecision::Probe, "less than the day that the clock was ahead");
        breaker.start_probe();
        fail_calls(&mut breaker, 6..7, 0);
        assert_eq!(breaker.check(0), BreakerDecision::DenyUntil(20_000));
    }

    #[test]
    fn failed_probes_double_the_wait_up_to_five_minutes() {
        let mut breaker = open_breaker();
        let mut waits = Vec::new();
        let mut now_ms = 5_000;
        for call in ["a", "b", "c", "d", "e", "f"] {
            let BreakerDecision::DenyUntil(until_ms) = breaker.check(now_ms) else { panic!() };
            waits.push(fail_probe(&mut breaker, now_ms, BreakerInput { call, ..FIRST }));
            now_ms = until_ms;
        }
        assert_eq!(waits, [20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    }

    #[test]
    fn a_probe_that_failed_before_does_not_double_the_wait() {
        let mut breaker = open_breaker();
        let mut now_ms = 0;
        for input in [
            BreakerInput { call: "call_0", ..FIRST },
            BreakerInput { call: "a", was_untried: false, ..FIRST },
            BreakerInput { call: "b", is_first_attempt: false, was_untried: false, ..FIRST },
        ] {
            assert_eq!(fail_probe(&mut breaker, now_ms, input), 10_000, "{input:?}");
            now_ms += 10_000;
        }
    }
}
