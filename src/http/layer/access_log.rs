//! A line in the log for each webhook.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;

/// Lines a second. At more a log costs intake more than it tells; how many were left out is said with the next line.
const MAX_LINES_PER_SECOND: u64 = 500;

/// What a route found out about the event it took, left in the extensions of its answer.
#[derive(Clone, Debug)]
pub(crate) struct AccessLogFields {
    /// The event's name, when it is one of those known.
    pub event: &'static str,
    /// The call's or chat's id, bounded.
    pub call_id: Option<String>,
    /// `stored`, `duplicate`, `revision` or `unparsed`.
    pub outcome: &'static str,
    /// Bytes of its body.
    pub size_bytes: usize,
}

/// Writes the lines of one receiver.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    /// The second, and the lines written in it.
    window: AtomicU64,
    suppressed_lines: AtomicU64,
}

impl AccessLog {
    /// Says what became of a request. A refused one (401) is not its business: those have lines of their own, and a limit.
    pub(super) fn log_request(&self, request_id: &str, response: &Response, took: Duration, now_ms: i64) {
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || !self.try_acquire_line(now_ms) {
            return;
        }
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if let Some(AccessLogFields { event, call_id, outcome, size_bytes }) =
            response.extensions().get::<AccessLogFields>()
        {
            let call_id = call_id.as_deref();
            tracing::info!(request_id, event, call_id, outcome, duration_ms, size_bytes, "webhook");
        } else {
            tracing::info!(request_id, outcome = status.as_u16(), duration_ms, "webhook not taken");
        }
    }

    fn try_acquire_line(&self, now_ms: i64) -> bool {
        let second = u64::try_from(now_ms / 1000).unwrap_or(0);
        let count = |window: u64| if window >> 16 == second { window & 0xffff } else { 0 };
        let next = |window| (count(window) < MAX_LINES_PER_SECOND).then(|| second << 16 | (count(window) + 1));
        let admitted = self.window.try_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok();
        if !admitted {
            self.suppressed_lines.fetch_add(1, Ordering::Relaxed);
        } else if self.suppressed_lines.load(Ordering::Relaxed) > 0 && self.window.load(Ordering::Relaxed) & 0xffff == 1
        {
            let left_out = self.suppressed_lines.swap(0, Ordering::Relaxed);
            tracing::info!(left_out, "webhook lines were left out: more than {MAX_LINES_PER_SECOND} in a second");
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_second_are_bounded() {
        let log = AccessLog::default();
        let admitted = |now_ms| (0..MAX_LINES_PER_SECOND + 10).filter(|_| log.try_acquire_line(now_ms)).count() as u64;
        assert_eq!(admitted(1_790_000_000_000), MAX_LINES_PER_SECOND);
        assert_eq!(log.suppressed_lines.load(Ordering::Relaxed), 10);
        assert_eq!(admitted(1_790_000_001_000), MAX_LINES_PER_SECOND);
    }
}
