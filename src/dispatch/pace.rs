//! Intake goes first. Handlers can be late by a few seconds; a request that is not answered in ten is sent again.

use std::time::{Duration, Instant};

/// Events accepted a second past which handlers make room. Ordinary traffic stays far below it.
const BUSY_PER_SECOND: f64 = 3_000.0;
/// While it is busy, a worker rests this many times as long as it worked.
const REST: u32 = 24;
const LONGEST_REST: Duration = Duration::from_millis(500);

/// Measures how busy intake is between two looks, and how long a worker should rest after its step.
#[derive(Default)]
pub(super) struct Pace {
    began: Option<(Instant, u64)>,
    looked: Option<(Instant, u64)>,
}

impl Pace {
    /// A step begins; `appended` events were accepted so far.
    pub(super) fn begin(&mut self, appended: u64) {
        self.looked = self.began.replace((Instant::now(), appended));
    }

    /// How long to rest now that the step is over.
    pub(super) fn rest(&self, appended: u64) -> Duration {
        let (Some((began, _)), Some((looked, then))) = (self.began, self.looked) else {
            return Duration::ZERO;
        };
        rest(looked.elapsed(), appended - then, began.elapsed())
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate, compared with a round number")]
fn rest(since: Duration, appended: u64, worked: Duration) -> Duration {
    let busy = appended as f64 > BUSY_PER_SECOND * since.as_secs_f64().max(0.01);
    if busy { (worked * REST).min(LONGEST_REST) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_only_while_intake_is_busy() {
        let (second, step) = (Duration::from_secs(1), Duration::from_millis(2));
        assert_eq!(rest(second, 100, step), Duration::ZERO);
        assert_eq!(rest(second, 20_000, step), step * REST);
        assert_eq!(rest(second, 20_000, second), LONGEST_REST);
    }
}
