//! Asks a service of the user's own: the request as it came, signed anew, and its answer checked.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{InboundAnswer, InvalidField, MAX_ANSWER_BYTES};
use super::request::{InboundContext, InboundRequest};
use super::rules::InvalidInboundKey;
use crate::base::clock::Clock;
use crate::config::{InboundAskSettings, RetellSignatureMode};
use crate::egress::{Destination, Egress, PostRequest, RequestError};
use crate::handlers::{HandlerDeps, RequestSigner, RetellSigner, SigningInput};

/// A service that answers.
pub(crate) struct InboundTarget {
    destination: Destination,
    signing: RequestSigner,
    /// For a company without a key, unless the settings insist on a signature.
    unsigned_signing: Option<RequestSigner>,
    timeout: Option<Duration>,
    signer: Arc<dyn RetellSigner>,
    clock: Clock,
}

/// Why there is no answer that could be sent. Names host and port at most, and no value.
#[derive(Debug, thiserror::Error)]
pub(super) enum InboundTargetError {
    #[error("{0}")]
    Egress(#[from] RequestError),
    #[error("{0}")]
    Unsigned(&'static str),
    #[error("{0} answered {1}")]
    UnexpectedStatus(String, u16),
    #[error("{0} answered no JSON")]
    NotJson(String),
    #[error("{0} answered with {1}")]
    InvalidAnswer(String, InvalidField),
}

impl InboundTarget {
    pub(super) fn new(settings: &InboundAskSettings, tools: &HandlerDeps) -> Result<Self, InvalidInboundKey> {
        let target = parse_target_url(settings, &tools.egress)?;
        let destination = tools.egress.destination(target, 0).map_err(|error| ("ask.url", error.to_string()))?;
        let (signer, clock) = (Arc::clone(&tools.retell_signer), tools.clock.clone());
        let within = settings.timeout_ms.map(Duration::from_millis);
        let usual = build_signing(settings, settings.retell_signature.unwrap_or(RetellSignatureMode::Fresh))?;
        let unsigned = settings
            .retell_signature
            .is_none()
            .then(|| build_signing(settings, RetellSignatureMode::None))
            .transpose()?;
        Ok(Self { destination, signing: usual, unsigned_signing: unsigned, timeout: within, signer, clock })
    }

    /// Within the budget, and within the time of its own.
    pub(super) async fn request_answer(
        &self,
        request: &InboundRequest,
        (context, original): (&InboundContext, Option<&str>),
    ) -> Result<InboundAnswer, InboundTargetError> {
        let now_ms = self.clock.now_ms();
        let signed = SigningInput {
            message_id: &context.event_id,
            company: &context.company,
            original_signature: original,
            body: &request.body,
            now_ms,
        };
        let private = self.signing.signed_headers(&signed, &*self.signer);
        let private = private.or_else(|why| {
            self.unsigned_signing.as_ref().map_or(Err(why), |unsigned| unsigned.signed_headers(&signed, &*self.signer))
        });
        let private = private.map_err(InboundTargetError::Unsigned)?;
        let left = context.deadline.saturating_duration_since(Instant::now());
        let post = PostRequest {
            headers: context_headers(context, now_ms),
            same_origin_headers: private,
            body: request.body.clone(),
            timeout: self.timeout.map_or(left, |within| within.min(left)),
        };
        let whole = self.destination.post_and_read_all(post, MAX_ANSWER_BYTES).await?;
        let whom = || self.destination.to_string();
        if !(200..300).contains(&whole.status) {
            return Err(InboundTargetError::UnexpectedStatus(whom(), whole.status));
        }
        let body: Value = serde_json::from_slice(&whole.body).map_err(|_| InboundTargetError::NotJson(whom()))?;
        InboundAnswer::from_json(&body, request.kind).map_err(|error| InboundTargetError::InvalidAnswer(whom(), error))
    }
}

/// Refuses what could not be asked.
pub(super) fn check_settings(settings: &InboundAskSettings, egress: &Egress) -> Result<(), InvalidInboundKey> {
    parse_target_url(settings, egress).and_then(|_| build_signing(settings, RetellSignatureMode::None)).map(drop)
}

fn parse_target_url(
    settings: &InboundAskSettings,
    egress: &Egress,
) -> Result<crate::egress::DestinationUrl, InvalidInboundKey> {
    if settings.timeout_ms.is_some_and(|ms| !(10..=8_000).contains(&ms)) {
        return Err(("ask.timeout_ms", "expected 10 to 8000 ms".to_owned()));
    }
    egress.parse_url(settings.url.expose()).map_err(|why| ("ask.url", why))
}

/// Whoever answers Retell's own requests checks Retell's signature: it is made anew unless told otherwise.
fn build_signing(
    settings: &InboundAskSettings,
    retell: RetellSignatureMode,
) -> Result<RequestSigner, InvalidInboundKey> {
    let inside = |(key, why): InvalidInboundKey| (if key == "secret" { "ask.secret" } else { "ask.headers" }, why);
    RequestSigner::new(settings.secret.as_ref(), retell, &settings.headers).map_err(inside)
}

fn context_headers(context: &InboundContext, now_ms: i64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put("webhook-id", &context.event_id.to_string());
    put("webhook-timestamp", &(now_ms / 1000).to_string());
    put("x-retell-webhook-company", &context.company);
    headers
}
