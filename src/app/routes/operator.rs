//! The operator routes: `/metrics`, and health with the result of each check.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};

use super::super::Receiver;
use super::super::context::AppContext;
use super::super::health::{self, HealthState};
use super::metrics::MetricSources;
use crate::config::{OpsSettings, Settings};
use crate::http::ApiError;
use crate::http::operator::{OperatorAuth, OperatorTrust};
use crate::security::token::BearerToken;
use crate::telemetry::disk::DiskSpace;
use crate::telemetry::exposition;
use crate::telemetry::process::ProcessStats;

/// Time limit for the statistics of the store. `/metrics` leaves its metrics out when it takes longer.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Builds the operator routes, which decide who may see what.
#[derive(Clone)]
pub(crate) struct OperatorRoutes {
    context: AppContext,
    settings: OpsSettings,
    /// Whether `server.url` is a public https address.
    has_public_url: bool,
}

impl Receiver {
    /// Renders the receiver's metrics in the `OpenMetrics` text format, with the prefix `retell_webhook_`, for an
    /// application that serves its own metrics. [`Receiver::router`] serves them at `/metrics`;
    /// [`Receiver::webhook_router`] does not.
    pub async fn metrics_text(&self) -> String {
        self.operator_routes.metrics_text().await
    }

    /// The router for the listener of `ops.listen`: `/metrics`, and health with the result of each check. On a loopback
    /// address every request is answered; on any other address only requests with `ops.token`.
    pub fn ops_router(&self) -> Router {
        let trust = match self.operator_routes.settings.listen {
            Some(address) if address.ip().to_canonical().is_loopback() => OperatorTrust::AllRequests,
            Some(_) => OperatorTrust::TokenOnly,
            None => OperatorTrust::TokenOrLocal,
        };
        let (health, metrics) = self.operator_routes.routes(trust);
        health.merge(metrics).fallback(async || ApiError::NotFound("Not Found"))
    }
}

impl OperatorRoutes {
    pub(crate) fn new(context: &AppContext, settings: &Settings) -> Self {
        Self {
            context: context.clone(),
            settings: settings.ops.clone(),
            has_public_url: settings.server.is_public_https(),
        }
    }

    /// The health routes of the main listener.
    pub(crate) fn health_routes(&self) -> Router {
        self.routes(self.main_listener_trust()).0
    }

    /// The `/metrics` route of the main listener.
    pub(crate) fn metrics_routes(&self) -> Router {
        self.routes(self.main_listener_trust()).1
    }

    fn main_listener_trust(&self) -> OperatorTrust {
        if self.settings.listen.is_some() { OperatorTrust::Disabled } else { OperatorTrust::TokenOrLocal }
    }

    fn routes(&self, trust: OperatorTrust) -> (Router, Router) {
        let operator_auth = OperatorAuth::new(self.settings.token.as_ref().map(BearerToken::new), trust);
        let health = HealthState {
            store: self.context.store.clone(),
            companies: self.context.companies.clone(),
            has_public_url: self.has_public_url,
            operator_auth: operator_auth.clone(),
        };
        let metrics = Router::new().route("/metrics", any(serve_metrics)).with_state((self.clone(), operator_auth));
        (health::router(health), metrics)
    }

    async fn metrics_text(&self) -> String {
        let context = &self.context;
        let store_stats = tokio::time::timeout(STORE_TIMEOUT, context.store.stats()).await;
        let sources = MetricSources {
            counted: &context.metrics,
            companies: &context.companies.get(),
            disk: DiskSpace::of_filesystem(&context.store_folder),
            store_stats: store_stats.ok().and_then(Result::ok),
            process_stats: ProcessStats::read(),
        };
        exposition::render(sources.collect())
    }
}

/// Serves `/metrics` to operators. For all other requests the route does not seem to exist, whatever the method.
async fn serve_metrics(
    State((routes, operator_auth)): State<(OperatorRoutes, OperatorAuth)>,
    connection: Option<Extension<ConnectInfo<SocketAddr>>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !operator_auth.is_authorized(connection.map(|Extension(info)| info.0), &headers) {
        return Err(ApiError::NotFound("Not Found"));
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return Err(ApiError::MethodNotAllowed);
    }
    let content_type = HeaderValue::from_static(exposition::CONTENT_TYPE);
    Ok(([(header::CONTENT_TYPE, content_type)], routes.metrics_text().await).into_response())
}
