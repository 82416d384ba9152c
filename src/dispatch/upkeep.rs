//! What a worker checks from time to time besides its deliveries: whether the clock was set back, and whether bodies
//! that could not be read can be read again.

use std::time::{Duration, Instant};

use crate::base::clock::BackwardStepDetector;
use crate::storage::{BodyRecheck, DeliveryQueue, HandlerId, Position, StoreError};

/// How often the bodies of dead deliveries are looked for again.
const RECHECK_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Upkeep {
    clock: BackwardStepDetector,
    /// True at start, too: the clock may have been set back before.
    correct_times: bool,
    recheck_at: Instant,
    recheck_after: Position,
}

/// The part of the upkeep that is due.
pub(super) struct UpkeepTasks {
    correct_times: bool,
    recheck_after: Option<Position>,
}

#[derive(Default)]
pub(super) struct UpkeepResult {
    corrected: u64,
    recheck: Option<BodyRecheck>,
}

impl Upkeep {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            clock: BackwardStepDetector::new(now_ms),
            correct_times: true,
            recheck_at: Instant::now(),
            recheck_after: Position::START,
        }
    }

    pub(super) fn due_tasks(&mut self, now_ms: i64) -> UpkeepTasks {
        self.correct_times |= self.clock.was_set_back(now_ms);
        let is_recheck_due = Instant::now() >= self.recheck_at;
        UpkeepTasks { correct_times: self.correct_times, recheck_after: is_recheck_due.then_some(self.recheck_after) }
    }

    /// Records the outcome of the tasks; after an error they stay due. Returns whether deliveries were resumed.
    pub(super) fn apply(&mut self, handler: &str, result: Option<&UpkeepResult>) -> bool {
        let Some(UpkeepResult { corrected, recheck }) = result else { return false };
        self.correct_times = false;
        if *corrected > 0 {
            tracing::warn!(handler, deliveries = corrected, "due times corrected");
        }
        let &Some(BodyRecheck { resumed, next_after }) = recheck else { return false };
        if resumed > 0 {
            tracing::info!(handler, deliveries = resumed, "dead deliveries resumed");
        }
        self.recheck_after = next_after.unwrap_or(Position::START);
        // Without a pause while there is something to resume.
        if resumed == 0 || next_after.is_none() {
            self.recheck_at = Instant::now() + RECHECK_INTERVAL;
        }
        resumed > 0
    }
}

impl UpkeepTasks {
    pub(super) fn is_empty(&self) -> bool {
        !self.correct_times && self.recheck_after.is_none()
    }

    pub(super) async fn run(
        &self,
        queue: &dyn DeliveryQueue,
        handler: HandlerId,
        now_ms: i64,
    ) -> Result<UpkeepResult, StoreError> {
        let mut result = UpkeepResult::default();
        if self.correct_times {
            result.corrected = queue.correct_future_times(handler, now_ms).await?;
        }
        if let Some(after) = self.recheck_after {
            result.recheck = Some(queue.resume_readable(handler, after, now_ms).await?);
        }
        Ok(result)
    }
}
