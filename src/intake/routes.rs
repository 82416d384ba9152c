//! The webhook's routes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{AcceptedEvent, InboundAnswerProvider, IncomingEvent, Intake};
use crate::event::{Event, JsonObject};
use crate::http::company::{Company, CurrentCompanyDirectory};
use crate::http::layer::SignatureLayer;
use crate::http::{ApiError, RawEvent, Verified};

/// The address to paste into Retell's dashboard.
pub(crate) const WEBHOOK_PATH: &str = "/api/v1/webhook/retell";
/// Where events arrive: an alias, the inbound webhook's own address, and those of companies.
const WEBHOOK_ROUTES: [&str; 5] = [
    WEBHOOK_PATH,
    "/webhook",
    "/api/v1/webhook/retell/inbound",
    "/api/v1/webhook/retell/{company}",
    "/api/v1/webhook/retell/{company}/inbound",
];
/// The address an older guide pointed Retell's webhooks at, along with its function calls.
const LEGACY_PATH: &str = "/api/mcp/retell/custom-function";
/// Says that the address is reachable.
pub(crate) const TEST_PATH: &str = "/api/v1/webhook/retell/test";
/// An event at the guide's address may take so long, below Retell's 10 s.
const LEGACY_EVENT_TIMEOUT: Duration = Duration::from_secs(9);
const COMPANY_TEST_PATH: &str = "/api/v1/webhook/retell/{company}/test";

/// Names the running process, so that one can tell whether a public URL ends at this very instance.
pub(crate) const INSTANCE_HEADER: HeaderName = HeaderName::from_static("x-retell-webhook-instance");

/// Answers function calls that came to a webhook's address.
#[async_trait]
pub(crate) trait FunctionAnswerProvider: Send + Sync {
    /// Answers one; the body names the function.
    async fn answer(&self, company: Arc<Company>, headers: HeaderMap, verified: Verified<RawEvent>) -> Response;

    /// Whether this signature, at this time, is none of a request for a function, and from now on of an event's.
    async fn reserve_signature_for_event(&self, signature: &str, at_ms: i64) -> bool;
}

/// What the routes need.
pub(crate) struct WebhookState {
    /// Takes the events in.
    pub intake: Intake,
    /// Answers inbound events.
    pub inbound_answers: Arc<dyn InboundAnswerProvider>,
    /// Whose routes there are.
    pub companies: CurrentCompanyDirectory,
    /// Where function calls go.
    pub function_answers: Arc<dyn FunctionAnswerProvider>,
    /// Whether signatures are checked; without it, bodies that are no JSON get 400.
    pub verify_signatures: bool,
    /// The address shown by the test endpoint, such as `http://localhost:8000`.
    pub public_url: Arc<str>,
    /// Random, made at start.
    pub instance_id: Arc<str>,
}

/// The webhook routes, with `signature` in front of every one that takes an event. A trailing slash is accepted.
pub(crate) fn router(endpoint: Arc<WebhookState>, signature: &SignatureLayer) -> Router {
    let mut router = Router::new();
    let mut add = |path: &str, methods: axum::routing::MethodRouter<Arc<WebhookState>>| {
        let slashed = format!("{path}/");
        router = std::mem::take(&mut router).route(path, methods.clone()).route(&slashed, methods);
    };
    for path in WEBHOOK_ROUTES {
        add(path, post(receive_event).route_layer(signature.clone()));
    }
    add(TEST_PATH, get(get_webhook_test));
    add(COMPANY_TEST_PATH, get(get_webhook_test));
    router.with_state(endpoint)
}

/// The address of an older guide, which takes events and function calls. A route of its own, as a function may take longer
/// than an event.
pub(crate) fn legacy_router(endpoint: Arc<WebhookState>, signature: &SignatureLayer) -> Router {
    let methods = post(receive_event_or_function).route_layer(signature.clone());
    Router::new().route(LEGACY_PATH, methods.clone()).route(&format!("{LEGACY_PATH}/"), methods).with_state(endpoint)
}

async fn receive_event(
    State(endpoint): State<Arc<WebhookState>>,
    Extension(company): Extension<Arc<Company>>,
    event: Verified<RawEvent>,
) -> Result<Response, ApiError> {
    endpoint.check_unverified_body(event.get())?;
    let accepted = endpoint.accept(&company, event, false).await?;
    Ok(endpoint.respond(accepted).await)
}

/// A body with `event` is an event; one with `name` is a function call, which is no event and is not kept as one; one with
/// neither is kept as unparsed.
async fn receive_event_or_function(
    State(endpoint): State<Arc<WebhookState>>,
    Extension(company): Extension<Arc<Company>>,
    headers: HeaderMap,
    event: Verified<RawEvent>,
) -> Result<Response, ApiError> {
    endpoint.check_unverified_body(event.get())?;
    let named = match Event::parse(&event.get().body) {
        Ok(Event::Unknown { name, fields }) if name.is_empty() => {
            if has_string_field(&fields, "name") {
                return Ok(endpoint.function_answers.answer(company, headers, event).await);
            }
            false
        }
        _ => true,
    };
    let left = LEGACY_EVENT_TIMEOUT.saturating_sub(event.get().received_instant.elapsed());
    let accepted = tokio::time::timeout(left, endpoint.accept(&company, event, !named)).await;
    Ok(endpoint.respond(accepted.map_err(|_| ApiError::Unavailable)??).await)
}

fn has_string_field(fields: &JsonObject, key: &str) -> bool {
    fields.get(key).is_some_and(|value| value.get().starts_with('"'))
}

#[derive(Serialize)]
struct WebhookTestResponse {
    status: &'static str,
    message: &'static str,
    webhook_url: String,
}

async fn get_webhook_test(
    State(endpoint): State<Arc<WebhookState>>,
    params: RawPathParams,
) -> Result<Response, ApiError> {
    let slug = params.iter().find(|(name, _)| *name == "company").map(|(_, slug)| slug);
    endpoint.companies.get().find(slug).ok_or(ApiError::NotFound("No such company"))?;
    let body = WebhookTestResponse {
        status: "ok",
        message: "Retell webhook endpoint is accessible",
        webhook_url: format!("POST {}{}", endpoint.public_url, webhook_path(slug)),
    };
    let mut response = axum::Json(body).into_response();
    if let Ok(instance) = HeaderValue::from_str(&endpoint.instance_id) {
        response.headers_mut().insert(INSTANCE_HEADER, instance);
    }
    Ok(response)
}

/// The webhook's path for a company; for `None` the plain route.
#[must_use]
pub(crate) fn webhook_path(slug: Option<&str>) -> String {
    slug.map_or_else(|| WEBHOOK_PATH.to_owned(), |slug| format!("{WEBHOOK_PATH}/{slug}"))
}

impl WebhookState {
    /// Without a signature there is no telling Retell's odd bodies from a browser's: only JSON is taken.
    fn check_unverified_body(&self, raw: &RawEvent) -> Result<(), ApiError> {
        if self.verify_signatures {
            return Ok(());
        }
        if raw.body.is_empty() {
            return Err(ApiError::BadRequest("The body is empty"));
        }
        match serde_json::from_slice::<&RawValue>(&raw.body) {
            Ok(_) => Ok(()),
            Err(_) => Err(ApiError::BadRequest("The body is not JSON")),
        }
    }

    /// Retell signs the body and not the address. What names one of its events is one, and no function runs for it; anything
    /// else may have been meant for a function, and nothing that was is handled as an event.
    async fn accept(
        &self,
        company: &Company,
        event: Verified<RawEvent>,
        unparsed: bool,
    ) -> Result<AcceptedEvent, ApiError> {
        let arrived = IncomingEvent::parse(event);
        if let Some((signature, at_ms)) = arrived.verified_signature_of_unknown_event()
            && !self.function_answers.reserve_signature_for_event(signature, at_ms).await
        {
            return Err(ApiError::Unauthorized);
        }
        self.intake.accept(company, arrived, unparsed).await
    }

    /// Whoever sent an inbound event gets its answer.
    async fn respond(&self, accepted: AcceptedEvent) -> Response {
        let AcceptedEvent { kind, duplicate, mut log_fields, inbound_webhook: inbound } = accepted;
        let body = match inbound {
            Some(inbound) => {
                let (kept, began) = (inbound.pending_write.clone(), inbound.received_at);
                let answer = self.inbound_answers.answer(inbound).await;
                log_fields.outcome = kept.outcome();
                self.intake.record_event(kind, &log_fields, began);
                answer.into()
            }
            None if duplicate => Bytes::from_static(br#"{"received":true,"duplicate":true}"#),
            None => Bytes::from_static(br#"{"received":true}"#),
        };
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (StatusCode::OK, Extension(log_fields), json, body).into_response()
    }
}
