//! The routes that Retell calls: webhook addresses, function addresses, and the address of an older guide for both.
//!
//! What a request is depends on its body: an event that arrives at a function address is stored, and a call of a
//! function that arrives at a webhook address is answered as one. Retell takes any response with status 200 for a
//! success, so a wrong one would stay unnoticed. The routes are here and not in `intake`, because callers wait for most
//! answers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, on, post};
use axum::{Extension, Router};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::functions::{
    self, BodyKind, FUNCTION_METHODS, FUNCTION_ROUTES, FunctionRequest, FunctionService, function_path,
};
use super::inbound::InboundResponder;
use super::page::ReceiverPage;
use crate::base::id::InstanceId;
use crate::config::DEFAULT_COMPANY_SLUG;
use crate::event::valid_json;
use crate::http::layer::{RefusalLogLimit, SignatureLayer};
use crate::http::{ApiError, RawEvent, Verified};
use crate::intake::{AcceptedEvent, IncomingEvent, Intake};
use crate::privacy::redact;
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
pub(crate) const LEGACY_PATH: &str = "/api/mcp/retell/custom-function";
/// A GET route that tells whether the public URL reaches this process.
pub(crate) const TEST_PATH: &str = "/api/v1/webhook/retell/test";
/// Time limit of an event from the arrival of its head, below Retell's 10 s, so that Retell receives a 503 and tries
/// again. Reading the body and committing have shorter limits. A function has its own limit, which may be longer.
const EVENT_TIMEOUT: Duration = Duration::from_secs(9);
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
    /// Whether only this machine can reach it.
    pub is_local_url: bool,
    /// Random value, new at every start of the process.
    pub instance_id: InstanceId,
    /// Limits the log lines about requests at the wrong address.
    pub log_limit: Arc<RefusalLogLimit>,
}

/// All routes, those for Retell behind the signature check. A trailing slash is accepted.
pub(crate) fn router(state: Arc<WebhookState>, signature: &SignatureLayer) -> Router {
    let mut router = Router::new();
    let mut add = |path: &str, methods: axum::routing::MethodRouter<Arc<WebhookState>>| {
        let with_slash = format!("{path}/");
        router = std::mem::take(&mut router).route(path, methods.clone()).route(&with_slash, methods);
    };
    // `route_layer` and not `layer`: a request with another method gets 405 without its body being read.
    for path in WEBHOOK_ROUTES {
        add(path, post(receive_at_webhook_path).route_layer(signature.clone()).get(get_page));
    }
    add(LEGACY_PATH, post(receive_at_legacy_path).route_layer(signature.clone()).get(get_page));
    // `methods` is a setting of each function and is checked once the function is known.
    for path in FUNCTION_ROUTES {
        add(path, on(FUNCTION_METHODS, receive_at_function_path).route_layer(signature.clone()));
    }
    add(TEST_PATH, get(get_webhook_test));
    add(COMPANY_TEST_PATH, get(get_webhook_test));
    router.with_state(state)
}

/// Takes events, and calls of functions that are configured. A call of another function is stored, as everything that
/// Retell has signed, and the response tells the model that nothing was done.
async fn receive_at_webhook_path(
    State(state): State<Arc<WebhookState>>,
    Extension(company): Extension<Arc<Company>>,
    uri: Uri,
    headers: HeaderMap,
    event: Verified<RawEvent>,
) -> Result<Response, ApiError> {
    state.check_unverified_body(event.get())?;
    let incoming = IncomingEvent::parse(event);
    let response_body = match body_kind(&incoming) {
        BodyKind::FunctionCall(name) if state.functions.has_function(&name, &company.slug) => {
            return state.answer_function(company, headers, incoming).await;
        }
        BodyKind::FunctionCall(name) => {
            state.report_unconfigured_function(&company, &name, uri.path(), &incoming);
            Some(functions::unconfigured_function_body())
        }
        BodyKind::OtherObject => Some(functions::not_an_event_body()),
        BodyKind::Event | BodyKind::NotObject => None,
    };
    state.receive_event(&company, incoming, false, response_body).await
}

/// Takes events and function calls. A body without an event name is flagged `unparsed`.
async fn receive_at_legacy_path(
    State(state): State<Arc<WebhookState>>,
    Extension(company): Extension<Arc<Company>>,
    headers: HeaderMap,
    event: Verified<RawEvent>,
) -> Result<Response, ApiError> {
    state.check_unverified_body(event.get())?;
    let incoming = IncomingEvent::parse(event);
    let response_body = match body_kind(&incoming) {
        BodyKind::FunctionCall(_) => return state.answer_function(company, headers, incoming).await,
        BodyKind::OtherObject => Some(functions::not_an_event_body()),
        BodyKind::Event | BodyKind::NotObject => None,
    };
    let unparsed = !incoming.has_event_name();
    state.receive_event(&company, incoming, unparsed, response_body).await
}

/// Takes calls of the function in the path, and Retell's events, which must not be lost for a wrong URL. Retell signs
/// the body and not the path, so a copy of an event could be posted here too; it never runs the function.
async fn receive_at_function_path(
    State(state): State<Arc<WebhookState>>,
    Extension(company): Extension<Arc<Company>>,
    params: RawPathParams,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    event: Verified<RawEvent>,
) -> Result<Response, ApiError> {
    let incoming = IncomingEvent::parse(event);
    if incoming.is_known_event() && functions::body_kind(&incoming.raw().body) == BodyKind::Event {
        state.report_event_at_function_path(&company, uri.path(), &incoming);
        return state.receive_event(&company, incoming, false, None).await;
    }
    let name = params.iter().find(|(name, _)| *name == "name").map(|(_, name)| name.to_owned());
    let request = FunctionRequest { method, name, headers, company, raw_event: incoming.into_verified() };
    functions::answer_request(&state.functions, request).await
}

/// What the body is. One that names an event of Retell is not looked at any further, because most are events.
fn body_kind(incoming: &IncomingEvent) -> BodyKind {
    if incoming.is_known_event() { BodyKind::Event } else { functions::body_kind(&incoming.raw().body) }
}

/// For a person who opens the webhook URL in a browser.
async fn get_page(State(state): State<Arc<WebhookState>>, params: RawPathParams) -> Result<Response, ApiError> {
    let company = state.company_of(&params)?;
    let page = ReceiverPage { public_url: &state.public_url, is_local: state.is_local_url, company, has_docs: false };
    Ok(page.into_response())
}

#[derive(Serialize)]
struct WebhookTestResponse {
    status: &'static str,
    message: &'static str,
    webhook_url: String,
}

async fn get_webhook_test(State(state): State<Arc<WebhookState>>, params: RawPathParams) -> Result<Response, ApiError> {
    let slug = state.company_of(&params)?;
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
    /// The slug in the path, if there is one; an error when no company has it.
    fn company_of<'a>(&self, params: &'a RawPathParams) -> Result<Option<&'a str>, ApiError> {
        let slug = params.iter().find(|(name, _)| *name == "company").map(|(_, slug)| slug);
        self.companies.get().find(slug).ok_or(ApiError::NotFound("No such company"))?;
        Ok(slug)
    }

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
        incoming: IncomingEvent,
        unparsed: bool,
    ) -> Result<AcceptedEvent, ApiError> {
        if let Some((signature, at_ms)) = incoming.verified_signature_of_unknown_event()
            && !self.functions.reserve_signature_for_event(signature, at_ms).await
        {
            return Err(ApiError::SignatureReused);
        }
        self.intake.accept(company, incoming, unparsed).await
    }

    /// Stores an event within its time limit, and acknowledges or answers it. `response_body` replaces the
    /// acknowledgement.
    async fn receive_event(
        &self,
        company: &Company,
        incoming: IncomingEvent,
        unparsed: bool,
        response_body: Option<Bytes>,
    ) -> Result<Response, ApiError> {
        let time_left = EVENT_TIMEOUT.saturating_sub(incoming.raw().received_instant.elapsed());
        let accepted = tokio::time::timeout(time_left, self.accept(company, incoming, unparsed)).await;
        let accepted = accepted.map_err(|_| ApiError::Unavailable)??;
        Ok(self.respond(accepted, response_body).await)
    }

    /// Calls the function that the body names.
    async fn answer_function(
        &self,
        company: Arc<Company>,
        headers: HeaderMap,
        incoming: IncomingEvent,
    ) -> Result<Response, ApiError> {
        let raw_event = incoming.into_verified();
        let request = FunctionRequest { method: Method::POST, name: None, headers, company, raw_event };
        functions::answer_request(&self.functions, request).await
    }

    /// Logs a call of a function that is not configured, and keeps a warning for `status` and `doctor`.
    fn report_unconfigured_function(&self, company: &Company, name: &str, path: &str, incoming: &IncomingEvent) {
        // The sender chose the name, and it may contain a phone number.
        let function = redact::path(name);
        let path = redact::path(path);
        let url = format!("{}{}", self.public_url, function_path(Some(&company.slug), &function));
        self.functions.record_unconfigured_function(format!(
            "Retell called the function `{function}` at {path}, which takes events, and no such function is configured: \
             the caller was told that nothing was done. Configure it in [[functions]] and set its URL in the agent's \
             tool to {url}, or to your own server if the function is there"
        ));
        let client_ip = incoming.raw().client_ip;
        if self.log_limit.try_acquire(client_ip) {
            let company = &*company.slug;
            tracing::warn!(function, company, path, function_url = url, "function call at webhook address");
        }
    }

    fn report_event_at_function_path(&self, company: &Company, path: &str, incoming: &IncomingEvent) {
        if self.log_limit.try_acquire(incoming.raw().client_ip) {
            let slug = Some(&*company.slug).filter(|slug| *slug != DEFAULT_COMPANY_SLUG);
            let webhook_url = format!("{}{}", self.public_url, webhook_path(slug));
            let path = redact::path(path);
            tracing::warn!(company = &*company.slug, path, webhook_url, "event at function address");
        }
    }

    /// Acknowledges an event, or answers an inbound request.
    async fn respond(&self, accepted: AcceptedEvent, response_body: Option<Bytes>) -> Response {
        let (body, log_fields) = match accepted {
            AcceptedEvent::Live { request, mut log_fields } => {
                let (kind, received_at) = (request.kind, request.received_at);
                let pending_write = request.pending_write.clone();
                let answer = self.inbound.answer(request).await;
                self.intake.record_answered(kind, received_at, &pending_write, &mut log_fields);
                (answer.into(), log_fields)
            }
            AcceptedEvent::Stored { duplicate, log_fields } => {
                let acknowledgement: &[u8] =
                    if duplicate { br#"{"received":true,"duplicate":true}"# } else { br#"{"received":true}"# };
                (response_body.unwrap_or_else(|| Bytes::from_static(acknowledgement)), log_fields)
            }
        };
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (StatusCode::OK, Extension(log_fields), headers, body).into_response()
    }
}
