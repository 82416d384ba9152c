//! Sends requests as Retell would: signed, with a timeout of ten seconds and up to three retries.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;

use crate::base::clock::Clock;
use crate::egress;
use crate::live::functions::OUTCOME_HEADER;
use crate::security::keys::ApiKey;
use crate::security::signature::{SIGNATURE_HEADER, Signature};

/// Explanation of a 401, for every command that sends requests.
pub(crate) const REJECTED_MESSAGE: &str = "rejected (401): the receiver has another key than this command \
(RETELL_API_KEY, or the development key in storage.data_dir), or the two clocks differ by more than five minutes; the \
receiver's log and its list of rejected requests have the diagnosis";
/// Retell waits for a response for this long by default.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of attempts after the first one, as many as Retell makes.
const MAX_RETRIES: u32 = 3;
/// A late answer is still read for this long, so that the report can show how late it is.
const LATE_RESPONSE_MARGIN: Duration = Duration::from_secs(2);
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(250);
/// Limit of the delay that the receiver can request with `Retry-After`.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Number of consecutive attempts without acknowledgment after which the run stops sending. Retries count.
const MAX_CONSECUTIVE_FAILURES: u32 = 20;

/// The final outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendOutcome {
    Stored,
    Duplicate,
    /// Rejected with this status, which a retry would not change.
    Rejected(u16),
    /// Answered with 5xx or 429 on every attempt; this is the last status.
    Failed(u16),
    NoResponse(&'static str),
    NotSent,
}

impl SendOutcome {
    pub(super) fn is_acknowledged(self) -> bool {
        matches!(self, Self::Stored | Self::Duplicate)
    }
}

pub(super) struct SendResult {
    pub(super) outcome: SendOutcome,
    /// Duration of the last attempt.
    pub(super) duration: Duration,
    pub(super) attempts: u32,
    /// Signature header of the last attempt.
    pub(super) signature: Option<String>,
    /// Status of the last response; `None` without a response.
    pub(super) status: Option<u16>,
    pub(super) response_body: Bytes,
    /// Value of the outcome header, which answers of functions have.
    pub(super) outcome_header: Option<String>,
}

impl SendResult {
    pub(super) fn not_sent() -> Self {
        Self {
            outcome: SendOutcome::NotSent,
            duration: Duration::ZERO,
            attempts: 0,
            signature: None,
            status: None,
            response_body: Bytes::new(),
            outcome_header: None,
        }
    }

    fn from_attempt(attempt: SendAttempt, duration: Duration, attempts: u32, signature: Option<String>) -> Self {
        let SendAttempt { outcome, status, response_body, outcome_header, .. } = attempt;
        Self { outcome, duration, attempts, signature, status, response_body, outcome_header }
    }
}

/// The result of one attempt.
struct SendAttempt {
    outcome: SendOutcome,
    /// Value of `Retry-After`, when the receiver sent one.
    retry_after: Option<Duration>,
    status: Option<u16>,
    response_body: Bytes,
    outcome_header: Option<String>,
}

impl SendAttempt {
    fn no_response(reason: &'static str) -> Self {
        Self {
            outcome: SendOutcome::NoResponse(reason),
            retry_after: None,
            status: None,
            response_body: Bytes::new(),
            outcome_header: None,
        }
    }
}

pub(super) struct EventSender {
    client: egress::Client,
    webhook_url: url::Url,
    key: Option<ApiKey>,
    clock: Clock,
    consecutive_failures: AtomicU32,
    /// Why no further requests are sent.
    stop_reason: OnceLock<String>,
}

impl EventSender {
    pub(super) fn new(client: egress::Client, url: url::Url, key: Option<ApiKey>, clock: Clock) -> Self {
        Self {
            client,
            webhook_url: url,
            key,
            clock,
            consecutive_failures: AtomicU32::new(0),
            stop_reason: OnceLock::new(),
        }
    }

    pub(super) fn stop_reason(&self) -> Option<&str> {
        self.stop_reason.get().map(String::as_str)
    }

    pub(super) fn webhook_url(&self) -> &url::Url {
        &self.webhook_url
    }

    /// Sends the request once, as Retell calls functions: no retries by default. Waits beyond the deadline, so that
    /// the report can show how late the answer is. Does not check [`stop_reason`](Self::stop_reason).
    pub(super) async fn send_once(
        &self,
        url: &url::Url,
        body: &Bytes,
        signature: Option<String>,
        deadline: Duration,
    ) -> SendResult {
        let signature = signature.or_else(|| self.sign(body));
        let started_at = Instant::now();
        let attempt = self.attempt(url, body, signature.as_deref(), deadline + LATE_RESPONSE_MARGIN).await;
        let duration = started_at.elapsed();
        self.update_stop_reason(attempt.outcome);
        SendResult::from_attempt(attempt, duration, 1, signature)
    }

    /// Sends `body` to `url` or, without one, to the webhook. Without a signature, a new one is made.
    pub(super) async fn send_with_retries(
        &self,
        url: Option<&url::Url>,
        body: &Bytes,
        signature: Option<String>,
    ) -> SendResult {
        let url = url.unwrap_or(&self.webhook_url);
        let mut signature = signature.or_else(|| self.sign(body));
        let mut result = SendResult::not_sent();
        while self.stop_reason().is_none() {
            let started_at = Instant::now();
            let attempt = self.attempt(url, body, signature.as_deref(), REQUEST_TIMEOUT).await;
            let duration = started_at.elapsed();
            let attempts = result.attempts + 1;
            let outcome = attempt.outcome;
            let retry_after = attempt.retry_after;
            result = SendResult::from_attempt(attempt, duration, attempts, signature.clone());
            self.update_stop_reason(outcome);
            let can_be_retried = matches!(outcome, SendOutcome::Failed(_) | SendOutcome::NoResponse(_));
            if !can_be_retried || attempts > MAX_RETRIES {
                break;
            }
            let delay = retry_after.unwrap_or(FIRST_RETRY_DELAY * 2_u32.pow(attempts - 1));
            tokio::time::sleep(delay.min(MAX_RETRY_DELAY)).await;
            // The first signature may be too old by now.
            signature = self.sign(body);
        }
        result
    }

    fn sign(&self, body: &Bytes) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(Signature::sign(key, body, self.clock.now_ms()).to_string())
    }

    async fn attempt(&self, url: &url::Url, body: &Bytes, signature: Option<&str>, timeout: Duration) -> SendAttempt {
        let mut request = self.client.post(url.clone()).timeout(timeout).header("content-type", "application/json");
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        let response = match request.body(body.clone()).send().await {
            Ok(response) => response,
            Err(error) => return SendAttempt::no_response(egress::failure_reason(&error)),
        };
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let outcome_header = header(OUTCOME_HEADER).map(str::to_owned);
        let response_body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return SendAttempt::no_response(egress::failure_reason(&error)),
        };
        let outcome = match status {
            200..300 if is_duplicate(&response_body) => SendOutcome::Duplicate,
            200..300 => SendOutcome::Stored,
            429 | 500.. => SendOutcome::Failed(status),
            _ => SendOutcome::Rejected(status),
        };
        SendAttempt { outcome, retry_after, status: Some(status), response_body, outcome_header }
    }

    /// Stops the run after a 401 or after too many consecutive failures, because further requests would fail as well.
    fn update_stop_reason(&self, outcome: SendOutcome) {
        let reason = match outcome {
            SendOutcome::Rejected(401) => REJECTED_MESSAGE.to_owned(),
            SendOutcome::Failed(_) | SendOutcome::NoResponse(_)
                if self.consecutive_failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_CONSECUTIVE_FAILURES =>
            {
                format!(
                    "{MAX_CONSECUTIVE_FAILURES} requests in a row were not acknowledged, so the rest was not sent; is \
                     the receiver still running?"
                )
            }
            SendOutcome::Failed(_) | SendOutcome::NoResponse(_) => return,
            _ => return self.consecutive_failures.store(0, Ordering::Relaxed),
        };
        // Several workers may fail at the same time; the first reason is kept.
        drop(self.stop_reason.set(reason));
    }
}

fn is_duplicate(response_body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(response_body).is_ok_and(|body| body["duplicate"] == true)
}
