//! What happens after an attempt. Pure.

use std::time::Duration;

use crate::handlers::Outcome;
use crate::storage::Settlement;

/// Waits between attempts; after the last one the delivery is dead.
const SCHEDULE: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(3_600),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(24 * 3_600),
];

/// Longest text of an error that is kept.
const LONGEST_ERROR: usize = 500;

/// The settlement for `outcome` of attempt number `attempt` (from 1) of the event at `seq`.
pub(super) fn next(seq: i64, attempt: u32, outcome: Outcome, now_ms: i64) -> Settlement {
    let (after, reason) = match outcome {
        Outcome::Done => return Settlement::Done { seq },
        Outcome::Fail { reason } => return Settlement::Dead { seq, attempts: attempt, error: short(reason) },
        Outcome::Retry { after, reason } => (after, reason),
    };
    let scheduled = usize::try_from(attempt).ok().and_then(|attempt| SCHEDULE.get(attempt.saturating_sub(1)));
    match scheduled {
        Some(wait) => {
            let wait_ms = i64::try_from(after.unwrap_or(*wait).as_millis()).unwrap_or(i64::MAX);
            Settlement::Scheduled {
                seq,
                attempts: attempt,
                next_attempt_at_ms: now_ms.saturating_add(wait_ms),
                error: short(reason),
            }
        }
        None => Settlement::Dead { seq, attempts: attempt, error: short(reason) },
    }
}

fn short(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(LONGEST_ERROR));
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_follow_the_schedule_and_then_end() {
        let mut waits = Vec::new();
        let mut attempt = 1;
        while let Settlement::Scheduled { attempts, next_attempt_at_ms, .. } =
            next(7, attempt, Outcome::retry("down"), 0)
        {
            assert_eq!(attempts, attempt);
            waits.push(next_attempt_at_ms);
            attempt += 1;
        }
        assert_eq!(waits, [5_000, 30_000, 120_000, 600_000, 3_600_000, 21_600_000, 86_400_000]);
        assert_eq!(
            next(7, 8, Outcome::retry("down"), 0),
            Settlement::Dead { seq: 7, attempts: 8, error: "down".into() }
        );
    }

    #[test]
    fn the_handler_may_say_when_and_may_give_up() {
        let after = Outcome::Retry { after: Some(Duration::from_secs(1)), reason: "busy".into() };
        assert!(matches!(next(1, 1, after, 10), Settlement::Scheduled { next_attempt_at_ms: 1_010, .. }));
        assert!(
            matches!(next(1, 1, Outcome::fail("x".repeat(900)), 0), Settlement::Dead { error, .. } if error.len() == 500)
        );
        assert_eq!(next(1, 3, Outcome::Done, 0), Settlement::Done { seq: 1 });
    }
}
