//! The access log: one log line per webhook request.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::response::Response;

use super::refusal_log_limit::RefusalLogLimit;
use crate::base::clock::to_unsigned_ms;
use crate::http::{Refusal, RefusalReason};
use crate::privacy::redact;

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

/// A request as the log shows it.
pub(super) struct LoggedRequest<'a> {
    pub(super) id: &'a str,
    pub(super) client_ip: Option<IpAddr>,
    /// The trusted proxy that forwarded the request.
    pub(super) proxy: Option<IpAddr>,
    pub(super) path: &'a str,
    pub(super) started_at: Instant,
    pub(super) now_ms: i64,
}

/// Writes the access log of one receiver: events and function calls within a limit per second, all other requests within
/// the stricter limit that unauthenticated senders have.
#[derive(Default)]
pub(super) struct AccessLog {
    refusals: Arc<RefusalLogLimit>,
    /// The current second in the upper 48 bits, and the number of lines written in it in the lower 16: one atomic, so
    /// that both change together.
    window: AtomicU64,
    suppressed_lines: AtomicU64,
}

impl AccessLog {
    pub(super) fn new(refusals: Arc<RefusalLogLimit>) -> Self {
        Self { refusals, ..Self::default() }
    }

    /// Logs a request with its outcome. Requests whose signature did not verify have their own lines, with a diagnosis.
    /// Returns whether a line was written.
    pub(super) fn log_request(&self, request: &LoggedRequest<'_>, response: &Response) -> bool {
        let status = response.status().as_u16();
        let duration_ms = to_unsigned_ms(request.started_at.elapsed());
        let request_id = request.id;
        let extensions = response.extensions();
        if let Some(fields) = extensions.get::<AccessLogFields>() {
            let is_logged = self.try_acquire_line(request.now_ms);
            if is_logged {
                log_accepted(request_id, status, fields, duration_ms);
            }
            return is_logged;
        }
        let refusal = extensions.get::<Refusal>();
        let has_own_line = refusal.is_some_and(|refusal| refusal.reason == RefusalReason::SignatureInvalid);
        if has_own_line || !self.refusals.try_acquire(request.client_ip) {
            return false;
        }
        match refusal {
            Some(refusal) => log_refused(request, status, refusal, duration_ms),
            None => tracing::info!(request_id, status, duration_ms, "webhook request completed"),
        }
        true
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

fn log_accepted(request_id: &str, status: u16, fields: &AccessLogFields, duration_ms: u64) {
    let AccessLogFields { event, call_id, outcome, size_bytes } = fields;
    let call_id = call_id.as_deref();
    tracing::info!(request_id, status, event, call_id, outcome, duration_ms, size_bytes, "webhook request completed");
}

fn log_refused(request: &LoggedRequest<'_>, status: u16, refusal: &Refusal, duration_ms: u64) {
    tracing::warn!(
        request_id = request.id,
        client_ip = request.client_ip.map(tracing::field::display),
        proxy = request.proxy.map(tracing::field::display),
        status,
        reason = refusal.reason.as_str(),
        path = redact::path(request.path),
        function = refusal.function.as_deref(),
        duration_ms,
        "webhook request refused"
    );
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
