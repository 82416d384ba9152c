//! The routes and what is around them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::functions::FunctionsAdapter;
use super::inbound::InboundAdapter;
use super::ops::OpsState;
use super::rejections::RejectionRecorder;
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::base::networks::Networks;
use crate::base::supervise::Supervisor;
use crate::config::Settings;
use crate::http::ApiError;
use crate::http::company::CurrentCompanyDirectory;
use crate::http::layer::{Ingress, SignatureLayer, ingress_middleware};
use crate::intake::{self, InboundAnswerProvider, Intake, WebhookState};
use crate::live::functions::{self, FunctionService};
use crate::security::allowlist;
use crate::storage::Store;

/// The whole of a request, below Retell's 10 s. The parts have shorter times of their own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(9);

/// What the routes are made from.
pub(super) struct RouterDeps<'a> {
    pub(super) settings: &'a Settings,
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) companies: &'a CurrentCompanyDirectory,
    pub(super) clock: &'a Clock,
    pub(super) ops: &'a OpsState,
    pub(super) rejections: &'a Arc<RejectionRecorder>,
    pub(super) functions: &'a FunctionService,
    pub(super) supervisor: &'a Supervisor,
    pub(super) inbound: Arc<InboundAdapter>,
}

impl RouterDeps<'_> {
    /// The webhook and health routes; `port` is the one really listened on.
    pub(super) fn router(&self, port: u16) -> Router {
        let panics = || CatchPanicLayer::custom(|_| -> Response { ApiError::Internal.into_response() });
        let health = self.ops.health_routes().method_not_allowed_fallback(method_not_allowed).layer(panics());
        let (endpoint, signature) = (Arc::new(self.webhook_endpoint(port)), self.signature_layer());
        // From the inside out.
        let webhooks = intake::router(Arc::clone(&endpoint), &signature)
            .method_not_allowed_fallback(method_not_allowed)
            // Around everything that waits: body, room, commit.
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
            .layer(map_response(add_retry_after))
            // Functions have time-outs of their own, and those of some are longer.
            .merge(functions::router(self.functions.clone(), &signature))
            .merge(intake::legacy_router(endpoint, &signature).method_not_allowed_fallback(method_not_allowed))
            // Inside of the entry, so that a panic has a request id and a line in the log as well.
            .layer(panics())
            .layer(from_fn_with_state(Arc::new(self.ingress()), ingress_middleware));
        webhooks.merge(health)
    }

    fn webhook_endpoint(&self, port: u16) -> WebhookState {
        WebhookState {
            intake: Intake::new(Arc::clone(self.store), Arc::clone(&self.ops.counters), self.supervisor.clone()),
            inbound_answers: Arc::clone(&self.inbound) as Arc<dyn InboundAnswerProvider>,
            companies: self.companies.clone(),
            function_answers: Arc::new(FunctionsAdapter(self.functions.clone())),
            verify_signatures: self.settings.security.verify,
            public_url: self.settings.server.public_url(port).into(),
            instance_id: random_hex().into(),
        }
    }

    fn ingress(&self) -> Ingress {
        let counters = Arc::clone(&self.ops.counters);
        // Checked when the settings were: none of the two fails.
        let trusted_proxies = Networks::parse(&self.settings.server.trusted_proxies).unwrap_or_default();
        let allowlist =
            allowlist::parse(&self.settings.security.allowlist).unwrap_or_else(|_| Some(Networks::default()));
        let count = move |_| counters.count("not_on_allowlist");
        Ingress::new(self.clock.clone(), trusted_proxies, allowlist, count)
    }

    fn signature_layer(&self) -> SignatureLayer {
        let (refusals, unread) = (Arc::clone(self.rejections), Arc::clone(&self.ops.counters));
        SignatureLayer::for_companies(self.companies.clone())
            .with_clock(self.clock.clone())
            .with_body_limit_bytes(self.settings.server.body_limit_bytes)
            .with_inflight_budget(self.ops.inflight_budget.clone())
            .on_rejected(move |refused| refusals.record(refused))
            .on_unreadable(move |not_read| {
                unread.count(not_read.reason());
                let peer = not_read.client_ip.map(tracing::field::display);
                tracing::warn!(peer, reason = not_read.reason(), "webhook not taken in, its body could not be read");
            })
    }
}

async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// The time-out layer answers an empty 503; a sender is owed the same as for any other.
async fn add_retry_after(response: Response) -> Response {
    let bare = response.status() == StatusCode::SERVICE_UNAVAILABLE && !response.headers().contains_key(RETRY_AFTER);
    if bare { ApiError::Unavailable.into_response() } else { response }
}
