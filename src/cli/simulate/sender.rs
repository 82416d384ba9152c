//! Sends one request as Retell would: signed, given ten seconds, and up to three times more when it was not taken.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;

use super::super::send::REJECTED_MESSAGE;
use crate::base::clock::Clock;
use crate::egress;
use crate::live::functions::OUTCOME_HEADER;
use crate::security::keys::ApiKey;
use crate::security::signature::{SIGNATURE_HEADER, Signature};

/// As long as Retell waits.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// After the first try.
const MAX_RETRIES: u32 = 3;
/// An answer may be so late and is still read.
const LATE_RESPONSE_MARGIN: Duration = Duration::from_secs(2);
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(250);
/// The receiver may ask for a longer pause, but for no longer one than this.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Requests in a row that nobody took, retries included; then the rest is not sent.
const MAX_CONSECUTIVE_FAILURES: u32 = 20;

/// What became of a request in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendOutcome {
    Stored,
    Duplicate,
    /// With this status, which no retry would change.
    Rejected(u16),
    /// 5xx, or 429, every time.
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
    /// Of the last try.
    pub(super) duration: Duration,
    pub(super) attempts: u32,
    /// The signature header it went out with at last.
    pub(super) signature: Option<String>,
    /// Of the last answer.
    pub(super) status: Option<u16>,
    pub(super) response_body: Bytes,
    /// What a function's answer says of itself in its header.
    pub(super) outcome_header: Option<String>,
}

impl SendResult {
    pub(super) fn not_sent() -> Self {
        let (outcome, took, answer) = (SendOutcome::NotSent, Duration::ZERO, Bytes::new());
        Self {
            outcome,
            duration: took,
            attempts: 0,
            signature: None,
            status: None,
            response_body: answer,
            outcome_header: None,
        }
    }
}

/// What one try came to.
struct SendAttempt {
    outcome: SendOutcome,
    /// How long the receiver asks to be left alone.
    retry_after: Option<Duration>,
    status: Option<u16>,
    response_body: Bytes,
    outcome_header: Option<String>,
}

impl SendAttempt {
    fn no_response(why: &'static str) -> Self {
        Self {
            outcome: SendOutcome::NoResponse(why),
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
    /// Why nothing is sent any more.
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

    /// The webhook.
    pub(super) fn webhook_url(&self) -> &url::Url {
        &self.webhook_url
    }

    /// Asks once, as Retell calls functions: what is refused or late is not sent again. An answer is waited for beyond its
    /// deadline, to tell how late it is. Whether requests are to go out at all is the caller's to know.
    pub(super) async fn send_once(
        &self,
        url: &url::Url,
        body: &Bytes,
        signature: Option<String>,
        deadline: Duration,
    ) -> SendResult {
        let signature = signature.or_else(|| self.sign(body));
        let started = Instant::now();
        let tried = self.attempt(url, body, signature.as_deref(), deadline + LATE_RESPONSE_MARGIN).await;
        let took = started.elapsed();
        self.update_stop_reason(tried.outcome);
        let SendAttempt { outcome, status, response_body: answer, outcome_header: said, .. } = tried;
        SendResult {
            outcome,
            duration: took,
            attempts: 1,
            signature,
            status,
            response_body: answer,
            outcome_header: said,
        }
    }

    /// Sends `body` to the webhook, or to `url`, with this signature or one made now.
    pub(super) async fn send_with_retries(
        &self,
        url: Option<&url::Url>,
        body: &Bytes,
        signature: Option<String>,
    ) -> SendResult {
        let url = url.unwrap_or(&self.webhook_url);
        let mut signature = signature.or_else(|| self.sign(body));
        let mut delivered = SendResult::not_sent();
        while self.stop_reason().is_none() {
            let started = Instant::now();
            let SendAttempt { outcome, retry_after: pause, status, response_body: answer, outcome_header: said } =
                self.attempt(url, body, signature.as_deref(), REQUEST_TIMEOUT).await;
            let (took, tries) = (started.elapsed(), delivered.attempts + 1);
            delivered = SendResult {
                outcome,
                duration: took,
                attempts: tries,
                signature: signature.clone(),
                status,
                response_body: answer,
                outcome_header: said,
            };
            self.update_stop_reason(outcome);
            if !matches!(outcome, SendOutcome::Failed(_) | SendOutcome::NoResponse(_)) || tries > MAX_RETRIES {
                break;
            }
            tokio::time::sleep(pause.unwrap_or(FIRST_RETRY_DELAY * 2_u32.pow(tries - 1)).min(MAX_RETRY_DELAY)).await;
            // By now the first signature may be too old.
            signature = self.sign(body);
        }
        delivered
    }

    fn sign(&self, body: &Bytes) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(Signature::sign(key, body, self.clock.now_ms()).to_string())
    }

    async fn attempt(&self, url: &url::Url, body: &Bytes, signature: Option<&str>, within: Duration) -> SendAttempt {
        let mut request = self.client.post(url.clone()).timeout(within).header("content-type", "application/json");
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        let response = match request.body(body.clone()).send().await {
            Ok(response) => response,
            Err(error) => return SendAttempt::no_response(egress::failure_reason(&error)),
        };
        let status = response.status().as_u16();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let said = response.headers().get(OUTCOME_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let answer = match response.bytes().await {
            Ok(answer) => answer,
            Err(error) => return SendAttempt::no_response(egress::failure_reason(&error)),
        };
        let outcome = match status {
            200..300 if is_duplicate(&answer) => SendOutcome::Duplicate,
            200..300 => SendOutcome::Stored,
            429 | 500.. => SendOutcome::Failed(status),
            _ => SendOutcome::Rejected(status),
        };
        SendAttempt {
            outcome,
            retry_after: after.map(Duration::from_secs),
            status: Some(status),
            response_body: answer,
            outcome_header: said,
        }
    }

    /// Where nothing is taken any more, thousands of requests would be as futile.
    fn update_stop_reason(&self, outcome: SendOutcome) {
        let why = match outcome {
            SendOutcome::Rejected(401) => REJECTED_MESSAGE.to_owned(),
            SendOutcome::Failed(_) | SendOutcome::NoResponse(_)
                if self.consecutive_failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_CONSECUTIVE_FAILURES =>
            {
                format!(
                    "{MAX_CONSECUTIVE_FAILURES} requests in a row were not taken, so the rest was not sent; is the receiver still running?"
                )
            }
            SendOutcome::Failed(_) | SendOutcome::NoResponse(_) => return,
            _ => return self.consecutive_failures.store(0, Ordering::Relaxed),
        };
        // Whoever came first has said why.
        drop(self.stop_reason.set(why));
    }
}

fn is_duplicate(answer: &[u8]) -> bool {
    serde_json::from_slice::<Value>(answer).is_ok_and(|answer| answer["duplicate"] == true)
}
