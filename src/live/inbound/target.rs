//! Forwards an inbound request to a service of the operator, signed anew, and checks its answer.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use tokio::time::Instant;

use super::answer::{InboundAnswer, InvalidField, MAX_ANSWER_BYTES};
use super::request::{InboundContext, InboundRequest};
use crate::base::clock::Clock;
use crate::config::FieldError;
use crate::config::{InboundAskSettings, RetellSignatureMode};
use crate::egress::{Destination, DestinationUrl, Egress, PostRequest, RequestError, decode_text};
use crate::event::{parse_json, valid_json_body};
use crate::outbound::{OutboundContext, RequestSigner, RetellSigner, SigningInput};

/// The service of an `ask` table.
pub(crate) struct InboundTarget {
    destination: Destination,
    signing: RequestSigner,
    /// Used for a company without a key. `None` if the settings require a signature.
    unsigned_signing: Option<RequestSigner>,
    sends_original_signature: bool,
    timeout: Option<Duration>,
    signer: Arc<dyn RetellSigner>,
    clock: Clock,
}

/// Why the service gave no usable answer. The messages are logged, so they contain at most host and port, and never a
/// value of the answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum InboundTargetError {
    #[error("{0}")]
    Egress(#[from] RequestError),
    #[error("{0}")]
    Unsigned(&'static str),
    #[error("{0} answered with status {1}; expected 200 to 299")]
    UnexpectedStatus(String, u16),
    #[error("{0} answered with a body that is not JSON")]
    NotJson(String),
    #[error("{0} answered with an invalid field: {1}")]
    InvalidAnswer(String, InvalidField),
}

impl InboundTarget {
    pub(super) fn new(settings: &InboundAskSettings, outbound: &OutboundContext) -> Result<Self, FieldError> {
        let url = parse_target_url(settings, &outbound.egress)?;
        let destination =
            outbound.egress.destination(url, 0).map_err(|error| FieldError::new("ask.url", error.to_string()))?;
        let signing = build_signing(settings, settings.retell_signature.unwrap_or(RetellSignatureMode::Fresh))?;
        let unsigned_signing = match settings.retell_signature {
            Some(_) => None,
            None => Some(build_signing(settings, RetellSignatureMode::None)?),
        };
        Ok(Self {
            destination,
            signing,
            unsigned_signing,
            sends_original_signature: settings.retell_signature == Some(RetellSignatureMode::Original),
            timeout: settings.timeout,
            signer: Arc::clone(&outbound.retell_signer),
            clock: outbound.clock.clone(),
        })
    }

    /// Posts the request and reads the answer, within `ask.timeout_ms` and the time left until the deadline.
    pub(super) async fn request_answer(
        &self,
        request: &InboundRequest,
        context: &InboundContext,
        original_signature: Option<&str>,
    ) -> Result<InboundAnswer, InboundTargetError> {
        let now_ms = self.clock.now_ms();
        // Only the bytes that Retell sent fit the signature that it sent.
        let body = if self.sends_original_signature { request.body.clone() } else { valid_json_body(&request.body) };
        let signing_input = SigningInput {
            message_id: &context.event_id,
            company: &context.company,
            original_signature,
            body: &body,
            now_ms,
        };
        let signed = self.signing.signed_headers(&signing_input, &*self.signer);
        let signature_headers = match (signed, &self.unsigned_signing) {
            (Ok(headers), _) => headers,
            (Err(_), Some(unsigned)) => {
                unsigned.signed_headers(&signing_input, &*self.signer).map_err(InboundTargetError::Unsigned)?
            }
            (Err(reason), None) => return Err(InboundTargetError::Unsigned(reason)),
        };
        let remaining = context.deadline.saturating_duration_since(Instant::now());
        let post = PostRequest {
            headers: context_headers(context, now_ms),
            same_origin_headers: signature_headers,
            body,
            timeout: self.timeout.map_or(remaining, |timeout| timeout.min(remaining)),
        };
        let response = self.destination.post_and_read_all(post, MAX_ANSWER_BYTES).await?;
        let target = || self.destination.to_string();
        if !(200..300).contains(&response.status) {
            return Err(InboundTargetError::UnexpectedStatus(target(), response.status));
        }
        let text = decode_text(response.content_type(), &response.body, false);
        let body =
            text.and_then(|text| parse_json(text.as_bytes())).ok_or_else(|| InboundTargetError::NotJson(target()))?;
        InboundAnswer::from_json(&body, request.kind)
            .map_err(|error| InboundTargetError::InvalidAnswer(target(), error))
    }
}

/// Checks the `ask` table without creating a connection pool.
pub(super) fn check_settings(settings: &InboundAskSettings, egress: &Egress) -> Result<(), FieldError> {
    parse_target_url(settings, egress)?;
    build_signing(settings, RetellSignatureMode::None)?;
    Ok(())
}

/// Limits of the time for one request, within that of the whole answer.
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const MAX_TIMEOUT: Duration = Duration::from_secs(8);

fn parse_target_url(settings: &InboundAskSettings, egress: &Egress) -> Result<DestinationUrl, FieldError> {
    if let Some(timeout) = settings.timeout
        && !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout)
    {
        let problem = format!("{} is out of range; expected 10 to 8000 ms", timeout.as_millis());
        return Err(FieldError::new("ask.timeout_ms", problem));
    }
    egress.parse_url(settings.url.expose()).map_err(|error| FieldError::new("ask.url", error))
}

/// A service that answered Retell directly before checks Retell's signature, so by default the request is signed as
/// Retell signs.
fn build_signing(settings: &InboundAskSettings, retell_mode: RetellSignatureMode) -> Result<RequestSigner, FieldError> {
    let signer = RequestSigner::new(settings.secret.as_ref(), retell_mode, &settings.headers);
    signer.map_err(|error| FieldError::new(format!("ask.{}", error.key()), error.problem()))
}

fn context_headers(context: &InboundContext, now_ms: i64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut insert = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    insert("webhook-id", &context.event_id.to_string());
    insert("webhook-timestamp", &(now_ms / 1000).to_string());
    insert("x-retell-webhook-company", &context.company);
    headers
}
