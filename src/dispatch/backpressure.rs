//! Intake goes first. Handlers can be late by a few seconds; a request that is not answered in ten is sent again.

use std::time::{Duration, Instant};

/// Events accepted a second past which handlers make room. Ordinary traffic stays far below it.
const BUSY_EVENTS_PER_SECOND: f64 = 3_000.0;
/// While it is busy, a worker rests this many times as long as it worked.
const DELAY_FACTOR: u32 = 24;
const MAX_DELAY: Duration = Duration::from_millis(500);

/// Measures how busy intake is between two looks, and how long a worker should rest after its step.
#[derive(Default)]
pub(super) struct Backpressure {
    current_step: Option<(Instant, u64)>,
    previous_step: Option<(Instant, u64)>,
}

impl Backpressure {
    /// A step begins; `appended` events were accepted so far.
    pub(super) fn start_step(&mut self, appended: u64) {
        self.previous_step = self.current_step.replace((Instant::now(), appended));
    }

    /// How long to rest now that the step is over.
    pub(super) fn delay(&self, appended: u64) -> Duration {
        let (Some((began, _)), Some((looked, then))) = (self.current_step, self.previous_step) else {
            return Duration::ZERO;
        };
        compute_delay(looked.elapsed(), appended - then, began.elapsed())
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate, compared with a round number")]
fn compute_delay(since: Duration, appended: u64, worked: Duration) -> Duration {
    let busy = appended as f64 > BUSY_EVENTS_PER_SECOND * since.as_secs_f64().max(0.01);
    if busy { (worked * DELAY_FACTOR).min(MAX_DELAY) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_only_while_intake_is_busy() {
        let (second, step) = (Duration::from_secs(1), Duration::from_millis(2));
        assert_eq!(compute_delay(second, 100, step), Duration::ZERO);
        assert_eq!(compute_delay(second, 20_000, step), step * DELAY_FACTOR);
        assert_eq!(compute_delay(second, 20_000, second), MAX_DELAY);
    }
}
