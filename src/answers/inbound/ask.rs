//! Asks a service of the user's own: the request as it came, signed anew, and its answer checked.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{InboundAnswer, InvalidField, MOST_BYTES};
use super::request::{InboundContext, InboundRequest};
use super::rules::Refused;
use crate::base::clock::Clock;
use crate::config::{AskSettings, RetellSignature};
use crate::egress::{Destination, Egress, Post, Undelivered};
use crate::handlers::{Signed, Signer, Signing, Tools};

/// A service that answers.
pub struct Ask {
    destination: Destination,
    signing: Signing,
    /// For a company without a key, unless the settings insist on a signature.
    unsigned: Option<Signing>,
    within: Option<Duration>,
    signer: Arc<dyn Signer>,
    clock: Clock,
}

/// Why there is no answer that could be sent. Names host and port at most, and no value.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("{0}")]
    Undelivered(#[from] Undelivered),
    #[error("{0}")]
    Unsigned(&'static str),
    #[error("{0} answered {1}")]
    Status(String, u16),
    #[error("{0} answered no JSON")]
    NoJson(String),
    #[error("{0} answered with {1}")]
    Invalid(String, InvalidField),
}

impl Ask {
    pub(super) fn of(settings: &AskSettings, tools: &Tools) -> Result<Self, Refused> {
        let target = checked(settings, &tools.egress)?;
        let destination = tools.egress.destination(target, 0).map_err(|error| ("ask.url", error.to_string()))?;
        let (signer, clock) = (Arc::clone(&tools.signer), tools.clock.clone());
        let within = settings.timeout_ms.map(Duration::from_millis);
        let usual = signing(settings, settings.retell_signature.unwrap_or(RetellSignature::Fresh))?;
        let unsigned =
            settings.retell_signature.is_none().then(|| signing(settings, RetellSignature::None)).transpose()?;
        Ok(Self { destination, signing: usual, unsigned, within, signer, clock })
    }

    /// Within the budget, and within the time of its own.
    pub(super) async fn answer(
        &self,
        request: &InboundRequest,
        (context, original): (&InboundContext, Option<&str>),
    ) -> Result<InboundAnswer, Unanswered> {
        let now_ms = self.clock.now_ms();
        let signed = Signed { id: &context.event_id, company: &context.company, original, body: &request.body, now_ms };
        let private = self.signing.headers(&signed, &*self.signer);
        let private = private.or_else(|why| {
            self.unsigned.as_ref().map_or(Err(why), |unsigned| unsigned.headers(&signed, &*self.signer))
        });
        let private = private.map_err(Unanswered::Unsigned)?;
        let left = context.deadline.saturating_duration_since(Instant::now());
        let post = Post {
            headers: about(context, now_ms),
            private,
            body: request.body.clone(),
            within: self.within.map_or(left, |within| within.min(left)),
        };
        let whole = self.destination.ask(post, MOST_BYTES).await?;
        let whom = || self.destination.to_string();
        if !(200..300).contains(&whole.status) {
            return Err(Unanswered::Status(whom(), whole.status));
        }
        let body: Value = serde_json::from_slice(&whole.body).map_err(|_| Unanswered::NoJson(whom()))?;
        InboundAnswer::from_json(&body, request.kind).map_err(|error| Unanswered::Invalid(whom(), error))
    }
}

/// Refuses what could not be asked.
pub(super) fn check(settings: &AskSettings, egress: &Egress) -> Result<(), Refused> {
    checked(settings, egress).and_then(|_| signing(settings, RetellSignature::None)).map(drop)
}

fn checked(settings: &AskSettings, egress: &Egress) -> Result<crate::egress::Target, Refused> {
    if settings.timeout_ms.is_some_and(|ms| !(10..=8_000).contains(&ms)) {
        return Err(("ask.timeout_ms", "expected 10 to 8000 ms".to_owned()));
    }
    egress.target(settings.url.expose()).map_err(|why| ("ask.url", why))
}

/// Whoever answers Retell's own requests checks Retell's signature: it is made anew unless told otherwise.
fn signing(settings: &AskSettings, retell: RetellSignature) -> Result<Signing, Refused> {
    let inside = |(key, why): Refused| (if key == "secret" { "ask.secret" } else { "ask.headers" }, why);
    Signing::new(settings.secret.as_ref(), retell, &settings.headers).map_err(inside)
}

fn about(context: &InboundContext, now_ms: i64) -> HeaderMap {
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
