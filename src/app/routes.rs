//! The routes of the receiver and the layers around them.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::docs;
use super::ops::OpsState;
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::base::networks::Networks;
use crate::base::supervise::Supervisor;
use crate::config::Settings;
use crate::http::ApiError;
use crate::http::layer::{Ingress, SignatureLayer, ingress_middleware};
use crate::intake::Intake;
use crate::live::functions::{self, FunctionService};
use crate::live::inbound::InboundResponder;
use crate::live::{self, WebhookState};
use crate::rejections::RejectionRecorder;
use crate::security::allowlist;
use crate::storage::Store;
use crate::tenants::CurrentCompanyDirectory;

/// Time limit of a webhook request. It is below Retell's 10 s, so that Retell receives a 503 and tries again. Reading
/// the body and committing have shorter limits.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(9);

pub(super) struct RouterDeps<'a> {
    pub(super) settings: &'a Settings,
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) companies: &'a CurrentCompanyDirectory,
    pub(super) clock: &'a Clock,
    pub(super) ops: &'a OpsState,
    pub(super) rejections: &'a Arc<RejectionRecorder>,
    pub(super) functions: &'a FunctionService,
    pub(super) supervisor: &'a Supervisor,
    pub(super) inbound: Arc<InboundResponder>,
}

/// The parts of a receiver's router, which can be mounted separately.
#[derive(Clone)]
pub(super) struct Routers {
    pub(super) webhook: Router,
    pub(super) health: Router,
    /// The API documentation; empty when it is disabled.
    pub(super) docs: Router,
}

impl RouterDeps<'_> {
    /// All routers of the receiver except `/metrics`. `port` is the actual port of the listener.
    pub(super) fn into_routers(self, port: u16) -> Routers {
        let public_url = self.settings.server.public_url(port);
        let docs = self.settings.docs.enabled.then(|| docs::router(&public_url));
        Routers { webhook: self.webhook_router(port), health: self.health_router(), docs: docs.unwrap_or_default() }
    }

    /// The health routes. A panic in one of them becomes a 500 response.
    fn health_router(&self) -> Router {
        self.ops
            .health_routes()
            .method_not_allowed_fallback(method_not_allowed)
            .layer(CatchPanicLayer::custom(respond_to_panic))
    }

    /// The routes that Retell calls. `port` is the actual port of the listener, for the webhook URL that is shown.
    fn webhook_router(&self, port: u16) -> Router {
        let webhook_state = Arc::new(self.webhook_endpoint(port));
        let signature = self.signature_layer();
        // Layers are added from the inside out.
        live::router(Arc::clone(&webhook_state), &signature)
            .method_not_allowed_fallback(method_not_allowed)
            // Limits everything that waits: the body, the in-flight budget and the commit.
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
            .layer(map_response(add_retry_after))
            // Merged after the timeout layer: each function has its own timeout, which may be longer.
            .merge(functions::router(self.functions.clone(), &signature))
            .merge(live::legacy_router(webhook_state, &signature).method_not_allowed_fallback(method_not_allowed))
            // Inside the ingress middleware, so that a panic also gets a request id and an access log line.
            .layer(CatchPanicLayer::custom(respond_to_panic))
            .layer(from_fn_with_state(Arc::new(self.ingress()), ingress_middleware))
    }

    fn webhook_endpoint(&self, port: u16) -> WebhookState {
        WebhookState {
            intake: Intake::new(Arc::clone(self.store), Arc::clone(&self.ops.counters), self.supervisor.clone()),
            inbound: Arc::clone(&self.inbound),
            companies: self.companies.clone(),
            functions: self.functions.clone(),
            verify_signatures: self.settings.security.verify,
            public_url: self.settings.server.public_url(port).into(),
            instance_id: random_hex().into(),
        }
    }

    fn ingress(&self) -> Ingress {
        let counters = Arc::clone(&self.ops.counters);
        // Both were validated with the settings, so neither fails. The fallbacks are the strict ones: trust no proxy,
        // and let no address in.
        let trusted_proxies = Networks::parse(&self.settings.server.trusted_proxies).unwrap_or_default();
        let allowlist =
            allowlist::parse(&self.settings.security.allowlist).unwrap_or_else(|_| Some(Networks::default()));
        let on_address_rejected = move |_| counters.count("not_on_allowlist");
        Ingress::new(self.clock.clone(), trusted_proxies, allowlist, on_address_rejected)
    }

    fn signature_layer(&self) -> SignatureLayer {
        let rejections = Arc::clone(self.rejections);
        let counters = Arc::clone(&self.ops.counters);
        SignatureLayer::for_companies(self.companies.clone())
            .with_clock(self.clock.clone())
            .with_body_limit_bytes(self.settings.server.body_limit_bytes)
            .with_inflight_budget(self.ops.inflight_budget.clone())
            .on_rejected(move |rejection| rejections.record(rejection))
            .on_unreadable(move |unreadable| {
                counters.count(unreadable.reason());
                let client_ip = unreadable.client_ip.map(tracing::field::display);
                tracing::warn!(client_ip, reason = unreadable.reason(), "webhook request unreadable");
            })
    }
}

fn respond_to_panic(_: Box<dyn Any + Send>) -> Response {
    ApiError::Internal.into_response()
}

async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// Replaces the empty 503 of the timeout layer by the one of [`ApiError::Unavailable`], which has a body and
/// `Retry-After`.
async fn add_retry_after(response: Response) -> Response {
    let is_bare = response.status() == StatusCode::SERVICE_UNAVAILABLE && !response.headers().contains_key(RETRY_AFTER);
    if is_bare { ApiError::Unavailable.into_response() } else { response }
}
