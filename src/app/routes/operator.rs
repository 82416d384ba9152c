//! The operator routes: `/metrics`, and health with the result of each check.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::super::Receiver;
use super::super::context::AppContext;
use super::super::health::{self, HealthState};
use super::metrics::MetricSources;
use super::public::method_not_allowed;
use crate::config::{OpsSettings, Settings};
use crate::http::operator::OperatorAuth;
use crate::http::{ApiError, unknown_path_response};
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

    /// The router for a separate listener at `ops.listen`: `/metrics`, and health with the result of each check. If that
    /// is a loopback address (the default), every request is answered, so do not serve the router elsewhere; for any
    /// other address, only requests with `ops.token` are.
    pub fn ops_router(&self) -> Router {
        let routes = &self.operator_routes;
        let is_loopback = routes.settings.listen.is_some_and(|address| address.ip().to_canonical().is_loopback());
        let auth = if is_loopback { OperatorAuth::AllRequests } else { routes.token_auth() };
        let (health, metrics) = routes.routes(&auth);
        health
            .merge(metrics)
            .fallback(async |method: Method| unknown_path_response(&method))
            .method_not_allowed_fallback(method_not_allowed)
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
        self.routes(&self.token_auth()).0
    }

    /// The `/metrics` route of the main listener.
    pub(crate) fn metrics_routes(&self) -> Router {
        self.routes(&self.token_auth()).1
    }

    fn token_auth(&self) -> OperatorAuth {
        OperatorAuth::Token(self.settings.token.as_ref().map(BearerToken::new))
    }

    fn routes(&self, operator_auth: &OperatorAuth) -> (Router, Router) {
        let health = HealthState {
            store: self.context.store.clone(),
            companies: self.context.companies.clone(),
            has_public_url: self.has_public_url,
            instance: HeaderValue::from_str(self.context.instance_id.as_str()).ok(),
            functions: self.context.metrics.functions.clone(),
            operator_auth: operator_auth.clone(),
        };
        let metrics =
            Router::new().route("/metrics", any(serve_metrics)).with_state((self.clone(), operator_auth.clone()));
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
    method: Method,
    headers: HeaderMap,
) -> Response {
    if !operator_auth.is_authorized(&headers) {
        return unknown_path_response(&method);
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return ([(header::ALLOW, "GET,HEAD")], ApiError::MethodNotAllowed).into_response();
    }
    let content_type = HeaderValue::from_static(exposition::CONTENT_TYPE);
    ([(header::CONTENT_TYPE, content_type)], routes.metrics_text().await).into_response()
}
