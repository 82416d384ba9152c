//! The access log: one log line per webhook request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;

use crate::base::clock::to_unsigned_ms;

/// Maximum number of lines per second. Above it the log would slow intake down; the suppressed lines are counted, and
/// the next second begins with their number.
const MAX_LINES_PER_SECOND: u64 = 500;

/// Fields of the access log that only the route knows. It puts them into the extensions of its response.
#[derive(Clone, Debug)]
pub(crate) struct AccessLogFields {
    /// The event kind, or `unknown`: a name from the request never reaches the log. `custom_function` for a function.
    pub event: &'static str,
    /// The id of the call or chat, truncated.
    pub call_id: Option<String>,
    /// What happened to the event: `stored`, `duplicate`, `revision`, `unparsed` or `not_stored`, or the outcome of a
    /// live request.
    pub outcome: &'static str,
    /// Size of the request body in bytes.
    pub size_bytes: usize,
}

/// Writes the access log of one receiver within a rate limit.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    /// The current second in the upper 48 bits, and the number of lines written in it in the lower 16: one atomic, so
    /// that both change together.
    window: AtomicU64,
    suppressed_lines: AtomicU64,
}

impl AccessLog {
    /// Logs a request with its outcome. Rejected requests (401) have their own lines, with a stricter limit.
    pub(super) fn log_request(&self, request_id: &str, response: &Response, duration: Duration, now_ms: i64) {
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || !self.try_acquire_line(now_ms) {
            return;
        }
        let status = status.as_u16();
        let duration_ms = to_unsigned_ms(duration);
        if let Some(AccessLogFields { event, call_id, outcome, size_bytes }) =
            response.extensions().get::<AccessLogFields>()
        {
            let call_id = call_id.as_deref();
            tracing::info!(
                request_id,
                status,
                event,
                call_id,
                outcome,
                duration_ms,
                size_bytes,
                "webhook request completed"
            );
        } else {
            tracing::info!(request_id, status, duration_ms, "webhook request completed");
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
            // The first line of a second reports what the seconds before it suppressed.
            let suppressed = self.suppressed_lines.swap(0, Ordering::Relaxed);
            tracing::info!(suppressed, limit_per_second = MAX_LINES_PER_SECOND, "access log lines suppressed");
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_per_second_are_limited() {
        let log = AccessLog::default();
        let admitted = |now_ms| (0..MAX_LINES_PER_SECOND + 10).filter(|_| log.try_acquire_line(now_ms)).count() as u64;
        assert_eq!(admitted(1_790_000_000_000), MAX_LINES_PER_SECOND);
        assert_eq!(log.suppressed_lines.load(Ordering::Relaxed), 10);
        assert_eq!(admitted(1_790_000_001_000), MAX_LINES_PER_SECOND);
    }
}
