//! Sends one signed event as Retell would.

use std::time::{Duration, Instant};

use url::Url;

use super::simulate::receiver_url;
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::config::Settings;
use crate::egress;
use crate::event::{EventKind, sample_body};
use crate::operations::signatures::optional_signing_key;
use crate::operations::{OperationError, Principal};
use crate::privacy::redact;
use crate::security::signature::{SIGNATURE_HEADER, Signature};
use crate::view::SendResultView;

/// Retell waits for a response for this long by default.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of the response's body that the result contains.
const MAX_RESPONSE_CHARS: usize = 500;

pub(crate) struct EventToSend {
    pub content: EventContent,
    /// URL of the receiver; without a path that of the webhook is added. `None` for the one on this machine.
    pub url: Option<String>,
    /// The slug of the company whose key signs; `None` for the default company.
    pub company: Option<String>,
}

pub(crate) enum EventContent {
    /// A sample of this kind with a new call id, which begins with `call_test_` or `chat_test_`.
    Sample(EventKind),
    Body(Vec<u8>),
}

/// Sends the event.
///
/// # Errors
/// No key is known, the URL is invalid, or the receiver does not respond. Any response is a result.
pub(crate) async fn send_event(
    settings: &Settings,
    clock: &Clock,
    _principal: &Principal,
    event: EventToSend,
) -> Result<SendResultView, OperationError> {
    let company = event.company.as_deref();
    let url = receiver_url(settings, event.url.as_deref(), company)?;
    let now_ms = clock.now_ms();
    let body = match event.content {
        EventContent::Body(body) => body,
        EventContent::Sample(kind) => new_sample(kind, now_ms)?,
    };
    let client = egress::build_client(REQUEST_TIMEOUT)?;
    let mut request = client.post(url.clone()).header("content-type", "application/json");
    if let Some(key) = optional_signing_key(settings, company)? {
        request = request.header(SIGNATURE_HEADER, Signature::sign(&key, &body, now_ms).to_string());
    }
    let started_at = Instant::now();
    let response = request.body(body).send().await.map_err(|error| request_failure(&url, &error))?;
    let status = response.status().as_u16();
    let duration_ms = started_at.elapsed().as_millis();
    let response_body = response.text().await.unwrap_or_default();
    let response_body = response_body.chars().take(MAX_RESPONSE_CHARS).collect();
    Ok(SendResultView { status, response_body, duration_ms, url: redact::url(url.as_str()) })
}

fn new_sample(kind: EventKind, now_ms: i64) -> Result<Vec<u8>, OperationError> {
    let prefix = if kind.as_str().starts_with("chat") { "chat_test_" } else { "call_test_" };
    let body = sample_body(kind, &format!("{prefix}{}", &random_hex()[..27]), now_ms);
    let body = body.ok_or_else(|| OperationError::InvalidInput(format!("no sample of `{kind}` exists")))?;
    Ok(body.into_bytes())
}

fn request_failure(url: &Url, error: &egress::HttpError) -> OperationError {
    let reason = if error.is_timeout() {
        "no response within 10 s"
    } else if error.is_connect() {
        "no connection; is the receiver running on that port?"
    } else {
        "the connection was closed while sending (a body larger than server.body_limit_bytes has this effect as well)"
    };
    OperationError::NoResponse(format!("{}: {reason}", redact::url(url.as_str())))
}
