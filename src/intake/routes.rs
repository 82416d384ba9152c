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

use super::{Accepted, AnswerInbound, Arrived, Intake};
use crate::event::{Event, Object};
use crate::http::company::{Company, CurrentCompanies};
use crate::http::layer::SignatureLayer;
use crate::http::{ApiError, RawEvent, Verified};

/// The address to paste into Retell's dashboard.
pub const WEBHOOK_PATH: &str = "/api/v1/webhook/retell";
/// Where events arrive: an alias, the inbound webhook's own address, and those of companies.
const WEBHOOKS: [&str; 5] = [
    WEBHOOK_PATH,
    "/webhook",
    "/api/v1/webhook/retell/inbound",
    "/api/v1/webhook/retell/{company}",
    "/api/v1/webhook/retell/{company}/inbound",
];
/// The address an older guide pointed Retell's webhooks at, along with its function calls.
const GUIDE: &str = "/api/mcp/retell/custom-function";
/// Says that the address is reachable.
pub const TEST_PATH: &str = "/api/v1/webhook/retell/test";
/// An event at the guide's address may take so long, below Retell's 10 s.
const EVENT: Duration = Duration::from_secs(9);
const COMPANY_TEST_PATH: &str = "/api/v1/webhook/retell/{company}/test";

/// Names the running process, so that one can tell whether a public URL ends at this very instance.
pub const INSTANCE: HeaderName = HeaderName::from_static("x-retell-webhook-instance");

/// Answers function calls that came to a webhook's address.
#[async_trait]
pub trait CallsFunctions: Send + Sync {
    /// Answers one; the body names the function.
    async fn call(&self, company: Arc<Company>, headers: HeaderMap, verified: Verified<RawEvent>) -> Response;

    /// Whether this signature, at this time, is none of a request for a function, and from now on of an event's.
    async fn leave(&self, signature: &str, at_ms: i64) -> bool;
}

/// What the routes need.
pub struct Endpoint {
    /// Takes the events in.
    pub intake: Intake,
    /// Answers inbound events.
    pub inbound: Arc<dyn AnswerInbound>,
    /// Whose routes there are.
    pub companies: CurrentCompanies,
    /// Where function calls go.
    pub functions: Arc<dyn CallsFunctions>,
    /// Whether signatures are checked; without it, bodies that are no JSON get 400.
    pub verify: bool,
    /// The address shown by the test endpoint, such as `http://localhost:8000`.
    pub public_url: Arc<str>,
    /// Random, made at start.
    pub instance: Arc<str>,
}

/// The webhook routes, with `signature` in front of every one that takes an event. A trailing slash is accepted.
pub fn router(endpoint: Arc<Endpoint>, signature: &SignatureLayer) -> Router {
    let mut router = Router::new();
    let mut add = |path: &str, methods: axum::routing::MethodRouter<Arc<Endpoint>>| {
        let slashed = format!("{path}/");
        router = std::mem::take(&mut router).route(path, methods.clone()).route(&slashed, methods);
    };
    for path in WEBHOOKS {
        add(path, post(receive).route_layer(signature.clone()));
    }
    add(TEST_PATH, get(test));
    add(COMPANY_TEST_PATH, get(test));
    router.with_state(endpoint)
}

/// The address of an older guide, which takes events and function calls. A route of its own, as a function may take longer
/// than an event.
pub fn guide_router(endpoint: Arc<Endpoint>, signature: &SignatureLayer) -> Router {
    let methods = post(receive_guide).route_layer(signature.clone());
    Router::new().route(GUIDE, methods.clone()).route(&format!("{GUIDE}/"), methods).with_state(endpoint)
}

async fn receive(
    State(endpoint): State<Arc<Endpoint>>,
    Extension(company): Extension<Arc<Company>>,
    event: Verified<RawEvent>,
) -> Result<Response, ApiError> {
    endpoint.refuse_unverified_nonsense(event.get())?;
    let accepted = endpoint.accept(&company, event, false).await?;
    Ok(endpoint.answer(accepted).await)
}

/// A body with `event` is an event; one with `name` is a function call, which is no event and is not kept as one; one with
/// neither is kept as unparsed.
async fn receive_guide(
    State(endpoint): State<Arc<Endpoint>>,
    Extension(company): Extension<Arc<Company>>,
    headers: HeaderMap,
    event: Verified<RawEvent>,
) -> Result<Response, ApiError> {
    endpoint.refuse_unverified_nonsense(event.get())?;
    let named = match Event::parse(&event.get().body) {
        Ok(Event::Unknown { name, fields }) if name.is_empty() => {
            if has_text(&fields, "name") {
                return Ok(endpoint.functions.call(company, headers, event).await);
            }
            false
        }
        _ => true,
    };
    let left = EVENT.saturating_sub(event.get().began.elapsed());
    let accepted = tokio::time::timeout(left, endpoint.accept(&company, event, !named)).await;
    Ok(endpoint.answer(accepted.map_err(|_| ApiError::Unavailable)??).await)
}

fn has_text(fields: &Object, key: &str) -> bool {
    fields.get(key).is_some_and(|value| value.get().starts_with('"'))
}

#[derive(Serialize)]
struct Accessible {
    status: &'static str,
    message: &'static str,
    webhook_url: String,
}

async fn test(State(endpoint): State<Arc<Endpoint>>, params: RawPathParams) -> Result<Response, ApiError> {
    let slug = params.iter().find(|(name, _)| *name == "company").map(|(_, slug)| slug);
    endpoint.companies.get().find(slug).ok_or(ApiError::NotFound("No such company"))?;
    let body = Accessible {
        status: "ok",
        message: "Retell webhook endpoint is accessible",
        webhook_url: format!("POST {}{}", endpoint.public_url, webhook_path(slug)),
    };
    let mut response = axum::Json(body).into_response();
    if let Ok(instance) = HeaderValue::from_str(&endpoint.instance) {
        response.headers_mut().insert(INSTANCE, instance);
    }
    Ok(response)
}

/// The webhook's path for a company; for `None` the plain route.
#[must_use]
pub fn webhook_path(slug: Option<&str>) -> String {
    slug.map_or_else(|| WEBHOOK_PATH.to_owned(), |slug| format!("{WEBHOOK_PATH}/{slug}"))
}

impl Endpoint {
    /// Without a signature there is no telling Retell's odd bodies from a browser's: only JSON is taken.
    fn refuse_unverified_nonsense(&self, raw: &RawEvent) -> Result<(), ApiError> {
        if self.verify {
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
    async fn accept(&self, company: &Company, event: Verified<RawEvent>, unparsed: bool) -> Result<Accepted, ApiError> {
        let arrived = Arrived::read(event);
        if let Some((signature, at_ms)) = arrived.signature_of_unknown()
            && !self.functions.leave(signature, at_ms).await
        {
            return Err(ApiError::Unauthorized);
        }
        self.intake.accept(company, arrived, unparsed).await
    }

    /// Whoever sent an inbound event gets its answer.
    async fn answer(&self, accepted: Accepted) -> Response {
        let Accepted { kind, duplicate, mut taken, inbound } = accepted;
        let body = match inbound {
            Some(inbound) => {
                let (kept, began) = (inbound.kept.clone(), inbound.began);
                let answer = self.inbound.answer(inbound).await;
                taken.outcome = kept.outcome();
                self.intake.count(kind, &taken, began);
                answer.into()
            }
            None if duplicate => Bytes::from_static(br#"{"received":true,"duplicate":true}"#),
            None => Bytes::from_static(br#"{"received":true}"#),
        };
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (StatusCode::OK, Extension(taken), json, body).into_response()
    }
}
