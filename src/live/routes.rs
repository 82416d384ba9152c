//! The webhook routes, and the route of an older guide that takes events and function requests.
//!
//! They are here and not in `intake`, because every webhook route also takes inbound requests, whose callers wait for
//! an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::functions::{self, FunctionRequest, FunctionService};
use super::inbound::InboundResponder;
use crate::base::id::InstanceId;
use crate::event::{Event, JsonObject, valid_json};
use crate::http::layer::SignatureLayer;
use crate::http::{ApiError, RawEvent, Verified};
use crate::intake::{AcceptedEvent, IncomingEvent, Intake};
use crate::tenants::{Company, CurrentCompanyDirectory};

/// The path of the webhook URL in Retell's dashboard.
pub(crate) const WEBHOOK_PATH: &str = "/api/v1/webhook/retell";
/// All routes that take events. The `inbound` ones exist because Retell configures the inbound webhook separately;
/// each route takes every kind of event.
const WEBHOOK_ROUTES: [&str; 5] = [
    WEBHOOK_PATH,
    "/webhook",
    "/api/v1/webhook/retell/inbound",
    "/api/v1/webhook/retell/{company}",
    "/api/v1/webhook/retell/{company}/inbound",
];
/// The path to which an older guide sent Retell's webhooks together with its function requests.
const LEGACY_PATH: &str = "/api/mcp/retell/custom-function";
/// A GET route that tells whether the public URL reaches this process.
pub(crate) const TEST_PATH: &str = "/api/v1/webhook/retell/test";
/// Time limit for an event on [`LEGACY_PATH`], below Retell's 10 s. That route is outside the timeout layer, as a
/// function may take longer.
const LEGACY_EVENT_TIMEOUT: Duration = Duration::from_secs(9);
const COMPANY_TEST_PATH: &str = "/api/v1/webhook/retell/{company}/test";

/// Response header of the test route that identifies the running process. `doctor` compares it to find out whether a
/// public URL leads to this instance.
pub(crate) const INSTANCE_HEADER: HeaderName = HeaderName::from_static("x-retell-webhook-instance");

/// The state of the webhook routes.
pub(crate) struct WebhookState {
    pub intake: Intake,
    pub inbound: InboundResponder,
    pub functions: FunctionService,
    pub companies: CurrentCompanyDirectory,
    /// Whether signatures are checked. When not, a body that is not JSON is answered with 400.
    pub verify_signatures: bool,
    /// The base URL shown by the test route, such as `http://localhost:8000`.
    pub public_url: Arc<str>,
    /// Random value, new at every start of the process.
    pub instance_id: InstanceId,
}

/// The webhook routes. Every route that takes events is behind the signature check. A trailing slash is accepted.
pub(crate) fn router(state: Arc<WebhookState>, signature: &SignatureLayer) -> Router {
    let mut router = Router::new();
    let mut add = |path: &str, methods: axum::routing::MethodRouter<Arc<WebhookState>>| {
        let with_slash = format!("{path}/");
        router = std::mem::take(&mut router).route(path, methods.clone()).route(&with_slash, methods);
    };
    for path in WEBHOOK_ROUTES {
        // `route_layer` and not `layer`: a request with another method gets 405 without its body being read.
        add(path, post(receive_event).route_layer(signature.clone()));
    }
    add(TEST_PATH, get(get_webhook_test));
    add(COMPANY_TEST_PATH, get(get_webhook_test));
    router.with_state(state)
}

/// The route of an older guide, which takes events and function requests. Separate from [`router`], because a
/// function may take longer than the time limit of the webhook routes.
pub(crate) fn legacy_router(state: Arc<WebhookState>, signature: &SignatureLayer) -> Router {
    let methods = post(receive_event_or_function).route_layer(signature.clone());
    Router::new().route(LEGACY_PATH, methods.clone()).route(&format!("{LEGACY_PATH}/"), methods).with_state(state)
}

async fn receive_event(
    State(state): State<Arc<WebhookState>>,
    Extension(company): Extension<Arc<Company>>,
    event: Verified<RawEvent>,
) -> Result<Response, ApiError> {
    state.check_unverified_body(event.get())?;
    let accepted = state.accept(&company, event, false).await?;
    Ok(state.respond(accepted).await)
}

/// A body with `event` is an event. A body with `name` is a function request and is not stored as an event. A body
/// with neither is stored and flagged `unparsed`.
async fn receive_event_or_function(
    State(state): State<Arc<WebhookState>>,
    Extension(company): Extension<Arc<Company>>,
    headers: HeaderMap,
    event: Verified<RawEvent>,
) -> Result<Response, ApiError> {
    state.check_unverified_body(event.get())?;
    let has_event_name = match Event::parse(&event.get().body) {
        Ok(Event::Unknown { name, fields }) if name.is_empty() => {
            if has_string_field(&fields, "name") {
                let method = Method::POST;
                let request = FunctionRequest { method, name: None, headers, company, raw_event: event };
                return functions::answer_request(&state.functions, request).await;
            }
            false
        }
        _ => true,
    };
    let time_left = LEGACY_EVENT_TIMEOUT.saturating_sub(event.get().received_instant.elapsed());
    let accepted = tokio::time::timeout(time_left, state.accept(&company, event, !has_event_name)).await;
    let accepted = accepted.map_err(|_| ApiError::Unavailable)??;
    Ok(state.respond(accepted).await)
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

async fn get_webhook_test(State(state): State<Arc<WebhookState>>, params: RawPathParams) -> Result<Response, ApiError> {
    let slug = params.iter().find(|(name, _)| *name == "company").map(|(_, slug)| slug);
    state.companies.get().find(slug).ok_or(ApiError::NotFound("No such company"))?;
    let body = WebhookTestResponse {
        status: "ok",
        message: "Retell webhook endpoint is accessible",
        webhook_url: format!("POST {}{}", state.public_url, webhook_path(slug)),
    };
    let mut response = axum::Json(body).into_response();
    if let Ok(instance) = HeaderValue::from_str(state.instance_id.as_str()) {
        response.headers_mut().insert(INSTANCE_HEADER, instance);
    }
    Ok(response)
}

/// The webhook path of a company; for `None` the path without a slug.
#[must_use]
pub(crate) fn webhook_path(slug: Option<&str>) -> String {
    slug.map_or_else(|| WEBHOOK_PATH.to_owned(), |slug| format!("{WEBHOOK_PATH}/{slug}"))
}

impl WebhookState {
    /// Accepts only JSON when verification is off. An odd body that is signed comes from Retell and is stored;
    /// without a signature it may as well be a stray request of a browser or a scanner.
    fn check_unverified_body(&self, raw: &RawEvent) -> Result<(), ApiError> {
        if self.verify_signatures {
            return Ok(());
        }
        if raw.body.is_empty() {
            return Err(ApiError::BadRequest("The body is empty"));
        }
        match serde_json::from_str::<&RawValue>(&valid_json(&raw.body)) {
            Ok(_) => Ok(()),
            Err(_) => Err(ApiError::BadRequest("The body is not JSON")),
        }
    }

    /// Stores an event, unless its signature was used for a function.
    ///
    /// Retell signs the body and not the path, so a captured function request could be posted here. A body that names
    /// one of Retell's events never runs a function and needs no check. For any other body, the route on which its
    /// signature is seen first decides.
    async fn accept(
        &self,
        company: &Company,
        event: Verified<RawEvent>,
        unparsed: bool,
    ) -> Result<AcceptedEvent, ApiError> {
        let incoming = IncomingEvent::parse(event);
        if let Some((signature, at_ms)) = incoming.verified_signature_of_unknown_event()
            && !self.functions.reserve_signature_for_event(signature, at_ms).await
        {
            return Err(ApiError::SignatureReused);
        }
        self.intake.accept(company, incoming, unparsed).await
    }

    /// Acknowledges an event, or answers an inbound request.
    async fn respond(&self, accepted: AcceptedEvent) -> Response {
        let (body, log_fields) = match accepted {
            AcceptedEvent::Live { request, mut log_fields } => {
                let (kind, received_at) = (request.kind, request.received_at);
                let pending_write = request.pending_write.clone();
                let answer = self.inbound.answer(request).await;
                self.intake.record_answered(kind, received_at, &pending_write, &mut log_fields);
                (answer.into(), log_fields)
            }
            AcceptedEvent::Stored { duplicate: true, log_fields } => {
                (Bytes::from_static(br#"{"received":true,"duplicate":true}"#), log_fields)
            }
            AcceptedEvent::Stored { duplicate: false, log_fields } => {
                (Bytes::from_static(br#"{"received":true}"#), log_fields)
            }
        };
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (StatusCode::OK, Extension(log_fields), headers, body).into_response()
    }
}
