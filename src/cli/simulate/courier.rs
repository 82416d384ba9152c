//! Sends one request as Retell would: signed, given ten seconds, and up to three times more when it was not taken.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;

use super::super::send::OTHER_KEY;
use crate::answers::functions::OUTCOME_HEADER;
use crate::base::clock::Clock;
use crate::egress;
use crate::security::keys::ApiKey;
use crate::security::signature::{SIGNATURE_HEADER, Signature};

/// As long as Retell waits.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// After the first try.
const RETRIES: u32 = 3;
/// An answer may be so late and is still read.
const BEYOND: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The receiver may ask for a longer pause, but for no longer one than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Requests in a row that nobody took, retries included; then the rest is not sent.
const GIVE_UP: u32 = 20;

/// What became of a request in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stored,
    Duplicate,
    /// With this status, which no retry would change.
    Refused(u16),
    /// 5xx, or 429, every time.
    Failed(u16),
    Unanswered(&'static str),
    NotSent,
}

impl Outcome {
    pub(super) fn is_acknowledged(self) -> bool {
        matches!(self, Self::Stored | Self::Duplicate)
    }
}

pub(super) struct Delivered {
    pub(super) outcome: Outcome,
    /// Of the last try.
    pub(super) took: Duration,
    pub(super) tries: u32,
    /// The signature header it went out with at last.
    pub(super) signature: Option<String>,
    /// Of the last answer.
    pub(super) status: Option<u16>,
    pub(super) answer: Bytes,
    /// What a function's answer says of itself in its header.
    pub(super) said: Option<String>,
}

impl Delivered {
    pub(super) fn not_sent() -> Self {
        let (outcome, took, answer) = (Outcome::NotSent, Duration::ZERO, Bytes::new());
        Self { outcome, took, tries: 0, signature: None, status: None, answer, said: None }
    }
}

/// What one try came to.
struct Tried {
    outcome: Outcome,
    /// How long the receiver asks to be left alone.
    pause: Option<Duration>,
    status: Option<u16>,
    answer: Bytes,
    said: Option<String>,
}

impl Tried {
    fn unanswered(why: &'static str) -> Self {
        Self { outcome: Outcome::Unanswered(why), pause: None, status: None, answer: Bytes::new(), said: None }
    }
}

pub(super) struct Courier {
    client: egress::Client,
    url: url::Url,
    key: Option<ApiKey>,
    clock: Clock,
    untaken: AtomicU32,
    /// Why nothing is sent any more.
    stopped: OnceLock<String>,
}

impl Courier {
    pub(super) fn new(client: egress::Client, url: url::Url, key: Option<ApiKey>, clock: Clock) -> Self {
        Self { client, url, key, clock, untaken: AtomicU32::new(0), stopped: OnceLock::new() }
    }

    pub(super) fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// The webhook.
    pub(super) fn url(&self) -> &url::Url {
        &self.url
    }

    /// Asks once, as Retell calls functions: what is refused or late is not sent again. An answer is waited for beyond its
    /// deadline, to tell how late it is. Whether requests are to go out at all is the caller's to know.
    pub(super) async fn ask(
        &self,
        url: &url::Url,
        body: &Bytes,
        signature: Option<String>,
        deadline: Duration,
    ) -> Delivered {
        let signature = signature.or_else(|| self.sign(body));
        let started = Instant::now();
        let tried = self.try_once(url, body, signature.as_deref(), deadline + BEYOND).await;
        let took = started.elapsed();
        self.watch(tried.outcome);
        let Tried { outcome, status, answer, said, .. } = tried;
        Delivered { outcome, took, tries: 1, signature, status, answer, said }
    }

    /// Sends `body` to the webhook, or to `url`, with this signature or one made now.
    pub(super) async fn carry(&self, url: Option<&url::Url>, body: &Bytes, signature: Option<String>) -> Delivered {
        let url = url.unwrap_or(&self.url);
        let mut signature = signature.or_else(|| self.sign(body));
        let mut delivered = Delivered::not_sent();
        while self.stopped().is_none() {
            let started = Instant::now();
            let Tried { outcome, pause, status, answer, said } =
                self.try_once(url, body, signature.as_deref(), TIMEOUT).await;
            let (took, tries) = (started.elapsed(), delivered.tries + 1);
            delivered = Delivered { outcome, took, tries, signature: signature.clone(), status, answer, said };
            self.watch(outcome);
            if !matches!(outcome, Outcome::Failed(_) | Outcome::Unanswered(_)) || tries > RETRIES {
                break;
            }
            tokio::time::sleep(pause.unwrap_or(FIRST_PAUSE * 2_u32.pow(tries - 1)).min(LONGEST_PAUSE)).await;
            // By now the first signature may be too old.
            signature = self.sign(body);
        }
        delivered
    }

    fn sign(&self, body: &Bytes) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(Signature::sign(key, body, self.clock.now_ms()).to_string())
    }

    async fn try_once(&self, url: &url::Url, body: &Bytes, signature: Option<&str>, within: Duration) -> Tried {
        let mut request = self.client.post(url.clone()).timeout(within).header("content-type", "application/json");
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        let response = match request.body(body.clone()).send().await {
            Ok(response) => response,
            Err(error) => return Tried::unanswered(egress::reason(&error)),
        };
        let status = response.status().as_u16();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let said = response.headers().get(OUTCOME_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let answer = match response.bytes().await {
            Ok(answer) => answer,
            Err(error) => return Tried::unanswered(egress::reason(&error)),
        };
        let outcome = match status {
            200..300 if is_duplicate(&answer) => Outcome::Duplicate,
            200..300 => Outcome::Stored,
            429 | 500.. => Outcome::Failed(status),
            _ => Outcome::Refused(status),
        };
        Tried { outcome, pause: after.map(Duration::from_secs), status: Some(status), answer, said }
    }

    /// Where nothing is taken any more, thousands of requests would be as futile.
    fn watch(&self, outcome: Outcome) {
        let why = match outcome {
            Outcome::Refused(401) => OTHER_KEY.to_owned(),
            Outcome::Failed(_) | Outcome::Unanswered(_)
                if self.untaken.fetch_add(1, Ordering::Relaxed) + 1 >= GIVE_UP =>
            {
                format!(
                    "{GIVE_UP} requests in a row were not taken, so the rest was not sent; is the receiver still running?"
                )
            }
            Outcome::Failed(_) | Outcome::Unanswered(_) => return,
            _ => return self.untaken.store(0, Ordering::Relaxed),
        };
        // Whoever came first has said why.
        drop(self.stopped.set(why));
    }
}

fn is_duplicate(answer: &[u8]) -> bool {
    serde_json::from_slice::<Value>(answer).is_ok_and(|answer| answer["duplicate"] == true)
}
