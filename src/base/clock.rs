//! The only module that reads the wall clock. All other code receives a [`Clock`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of the current time. Clones are cheap and share the source.
///
/// Signature checks, event ids and retry times depend on the time, so tests pass a clock that they control.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The system clock of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(system_now_ms))
    }

    /// A clock that returns the result of `now_ms`, in milliseconds since the Unix epoch.
    pub fn from_fn(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// The current time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

/// Notices that the clock was set back: less time has passed by it than by the monotonic clock.
#[derive(Debug)]
pub(crate) struct BackwardStepDetector {
    last_ms: i64,
    last_at: Instant,
}

impl BackwardStepDetector {
    /// A smaller step is not one that anyone waits for.
    const MIN_STEP: Duration = Duration::from_secs(1);

    pub(crate) fn new(now_ms: i64) -> Self {
        Self { last_ms: now_ms, last_at: Instant::now() }
    }

    /// Whether the clock was set back since the last call. A clock that was set forward, or a machine that slept, is
    /// none of these.
    pub(crate) fn was_set_back(&mut self, now_ms: i64) -> bool {
        let expected_ms = self.last_ms.saturating_add(to_ms(self.last_at.elapsed()));
        let was_set_back = expected_ms.saturating_sub(now_ms) > to_ms(Self::MIN_STEP);
        *self = Self::new(now_ms);
        was_set_back
    }
}

/// Milliseconds of `duration` in the type of timestamps.
pub(crate) fn to_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn to_unsigned_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that may ask the system for the time")]
fn system_now_ms() -> i64 {
    // A clock before 1970 is a defect of the machine. With 0 every signature is stale, so all requests are rejected.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_step_back_is_noticed() {
        let mut detector = BackwardStepDetector::new(1_000_000);
        assert!(!detector.was_set_back(1_000_000), "no time has passed");
        assert!(!detector.was_set_back(90_000_000), "a step forward, or a machine that slept");
        assert!(!detector.was_set_back(89_999_500), "less than a second");
        assert!(detector.was_set_back(1_000_000));
        assert!(!detector.was_set_back(1_000_000), "it was noticed already");
    }
}
