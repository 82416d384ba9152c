//! Backpressure: while many events arrive, dispatch and retention leave the store to intake. A delivery may be a few
//! seconds late; a webhook that is not answered within 10 seconds is sent again and makes the load worse.

use std::time::{Duration, Instant};

/// Accepted events per second above which intake counts as busy. Ordinary traffic stays far below it.
const BUSY_EVENTS_PER_SECOND: f64 = 3_000.0;
/// While intake is busy, a worker pauses this many times as long as its step took: it then uses 1/25 of the writer's
/// time.
const DELAY_FACTOR: u32 = 24;
/// A single slow step must not stop a handler for long.
const MAX_DELAY: Duration = Duration::from_millis(500);

/// Measures the rate of accepted events between two steps of a worker, and derives the pause after a step from it.
#[derive(Default)]
pub(super) struct Backpressure {
    current_step: Option<(Instant, u64)>,
    previous_step: Option<(Instant, u64)>,
}

impl Backpressure {
    /// Starts a step. `appended` is the number of events accepted since the store was opened.
    pub(super) fn start_step(&mut self, appended: u64) {
        self.previous_step = self.current_step.replace((Instant::now(), appended));
    }

    /// The pause after the current step.
    pub(super) fn delay(&self, appended: u64) -> Duration {
        let (Some((step_start, _)), Some((window_start, appended_then))) = (self.current_step, self.previous_step)
        else {
            return Duration::ZERO;
        };
        // The rate is taken since the previous step, pause included: over one step, which lasts about a millisecond,
        // it would be noise.
        compute_delay(window_start.elapsed(), appended - appended_then, step_start.elapsed())
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate, compared with a round number")]
fn compute_delay(window: Duration, appended: u64, step_duration: Duration) -> Duration {
    // At least 10 ms, or two events right after each other would count as a high rate.
    let window_seconds = window.as_secs_f64().max(0.01);
    let is_busy = appended as f64 > BUSY_EVENTS_PER_SECOND * window_seconds;
    if is_busy { (step_duration * DELAY_FACTOR).min(MAX_DELAY) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_only_while_intake_is_busy() {
        let (second, step) = (Duration::from_secs(1), Duration::from_millis(2));
        assert_eq!(compute_delay(second, 100, step), Duration::ZERO);
        assert_eq!(compute_delay(second, 20_000, step), step * DELAY_FACTOR);
        assert_eq!(compute_delay(second, 20_000, second), MAX_DELAY);
    }
}
