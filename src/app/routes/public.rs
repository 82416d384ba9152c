//! The routes on the main listener, and the layers around them.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use tower_http::catch_panic::CatchPanicLayer;

use super::super::context::AppContext;
use super::super::docs;
use super::operator::OperatorRoutes;
use crate::base::unrouted_reason::UnroutedReason;
use crate::config::Settings;
use crate::http::layer::{Ingress, SignatureLayer, ingress_middleware};
use crate::http::{ApiError, RefusalReason};
use crate::live::{self, ReceiverPage, WebhookState};
use crate::rejections::RejectionRecorder;
use crate::security::rejection_reason::RejectionReason;

/// The parts of a receiver's router, which can be mounted separately.
#[derive(Clone)]
pub(crate) struct Routers {
    pub(crate) webhook: Router,
    pub(crate) health: Router,
    /// The page for people at `/`.
    pub(crate) root: MethodRouter,
    /// The API documentation; empty when it is disabled.
    pub(crate) docs: Router,
}

impl Routers {
    /// All routers of the receiver except `/metrics`. `public_url` is the address that is shown.
    pub(crate) fn new(webhook: Router, operator: &OperatorRoutes, settings: &Settings, public_url: &str) -> Self {
        let docs = settings.docs.enabled.then(|| docs::router(public_url));
        // A panic in a health route becomes a 500 response.
        let health = operator
            .health_routes()
            .method_not_allowed_fallback(method_not_allowed)
            .layer(CatchPanicLayer::custom(respond_to_panic));
        let root = root_page(public_url, settings);
        Self { webhook, health, root, docs: docs.unwrap_or_default() }
    }
}

fn root_page(public_url: &str, settings: &Settings) -> MethodRouter {
    let (public_url, is_local, has_docs) = (public_url.to_owned(), settings.server.is_local(), settings.docs.enabled);
    let page =
        async move || ReceiverPage { public_url: &public_url, is_local, company: None, has_docs }.into_response();
    get(page)
}

/// The routes that Retell calls, and the layers around them.
pub(crate) fn webhook_router(
    context: &AppContext,
    settings: &Settings,
    webhook_state: WebhookState,
    rejections: &Arc<RejectionRecorder>,
) -> Router {
    let signature = signature_layer(context, settings, rejections);
    // Layers are added from the inside out.
    live::router(Arc::new(webhook_state), &signature)
        .method_not_allowed_fallback(method_not_allowed)
        // Inside the ingress middleware, so that a panic also gets a request id and an access log line.
        .layer(CatchPanicLayer::custom(respond_to_panic))
        .layer(from_fn_with_state(Arc::new(ingress(context, settings, rejections)), ingress_middleware))
}

fn ingress(context: &AppContext, settings: &Settings, rejections: &Arc<RejectionRecorder>) -> Ingress {
    let rejections = Arc::clone(rejections);
    let counters = Arc::clone(&context.metrics.counters);
    let trusted_proxies = context.trusted_proxies.clone();
    let allowlist = settings.security.allowlist.allowed_networks();
    let on_refused = move |reason| match reason {
        RefusalReason::NotOnAllowlist => counters.count_rejected(RejectionReason::NotOnAllowlist),
        RefusalReason::UnknownCompany => counters.count_unrouted(UnroutedReason::UnknownCompany),
        RefusalReason::MethodNotAllowed => counters.count_unrouted(UnroutedReason::MethodNotAllowed),
        // Counted where the reason is found.
        _ => {}
    };
    let log_limit = Arc::clone(&context.refusal_log_limit);
    Ingress::new(context.clock.clone(), trusted_proxies, allowlist, log_limit, on_refused)
        .on_forbidden(move |request| rejections.record_forbidden(request))
}

fn signature_layer(context: &AppContext, settings: &Settings, rejections: &Arc<RejectionRecorder>) -> SignatureLayer {
    let rejections = Arc::clone(rejections);
    let counters = Arc::clone(&context.metrics.counters);
    SignatureLayer::for_companies(context.companies.clone())
        .with_clock(context.clock.clone())
        .with_body_limit_bytes(settings.server.body_limit_bytes)
        .with_inflight_budget(context.metrics.inflight_budget.clone())
        .on_rejected(move |rejection| rejections.record(rejection))
        .on_unreadable(move |unreadable| counters.count_unreadable(unreadable.reason_label()))
}

fn respond_to_panic(_: Box<dyn Any + Send>) -> Response {
    ApiError::Internal.into_response()
}

pub(super) async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}
