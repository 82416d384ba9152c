//! The operator routes: `/metrics`, and health with the result of each check.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};

use super::Receiver;
use super::health::{self, HealthState};
use super::metrics::MetricSources;
use crate::alarms::{self, AlarmStatus};
use crate::base::clock::Clock;
use crate::base::current::Current;
use crate::config::{AlarmSettings, OpsSettings, Settings};
use crate::dispatch::Workers;
use crate::http::ApiError;
use crate::http::budget::InflightBudget;
use crate::http::operator::{OperatorAuth, OperatorTrust};
use crate::security::token::BearerToken;
use crate::storage::Store;
use crate::storage::sqlite::SqliteUrl;
use crate::telemetry::deliveries::DeliveryMetrics;
use crate::telemetry::disk::DiskSpace;
use crate::telemetry::exposition;
use crate::telemetry::functions::FunctionMetrics;
use crate::telemetry::inbound::InboundMetrics;
use crate::telemetry::logging::DroppedLines;
use crate::telemetry::process::ProcessStats;
use crate::telemetry::requests::RequestCounters;
use crate::telemetry::retention::RemovedCounts;
use crate::tenants::CurrentCompanyDirectory;

/// Time limit for the statistics of the store. `/metrics` leaves its metrics out when it takes longer.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// The sources of all metrics, and who may see them.
#[derive(Clone)]
pub(super) struct OpsState {
    pub(super) counters: Arc<RequestCounters>,
    pub(super) delivery_metrics: DeliveryMetrics,
    pub(super) function_metrics: FunctionMetrics,
    pub(super) inbound_metrics: Arc<InboundMetrics>,
    pub(super) removed_rows: RemovedCounts,
    store: Arc<dyn Store>,
    pub(super) inflight_budget: InflightBudget,
    dropped_lines: DroppedLines,
    /// The result of the latest alarm check.
    alarm_status: AlarmStatus,
    store_folder: PathBuf,
    started_at_ms: i64,
    settings: OpsSettings,
    companies: CurrentCompanyDirectory,
    /// Whether `server.url` is a public https address.
    has_public_url: bool,
}

impl Receiver {
    /// Renders the receiver's metrics in the `OpenMetrics` text format, with the prefix `retell_webhook_`, for an
    /// application that serves its own metrics. [`Receiver::router`] serves them at `/metrics`;
    /// [`Receiver::webhook_router`] does not.
    pub async fn metrics_text(&self) -> String {
        self.ops.metrics_text().await
    }

    /// The router for the listener of `ops.listen`: `/metrics`, and health with the result of each check. On a loopback
    /// address every request is answered; on any other address only requests with `ops.token`.
    pub fn ops_router(&self) -> Router {
        let trust = match self.ops.settings.listen {
            Some(address) if address.ip().to_canonical().is_loopback() => OperatorTrust::AllRequests,
            Some(_) => OperatorTrust::TokenOnly,
            None => OperatorTrust::TokenOrLocal,
        };
        let (health, metrics) = self.ops.routes(trust);
        health.merge(metrics).fallback(async || ApiError::NotFound("Not Found"))
    }
}

impl OpsState {
    pub(super) fn new(
        settings: &Settings,
        store: &Arc<dyn Store>,
        companies: &CurrentCompanyDirectory,
        dropped_lines: DroppedLines,
        started_at_ms: i64,
    ) -> Self {
        Self {
            counters: Arc::default(),
            delivery_metrics: DeliveryMetrics::default(),
            function_metrics: FunctionMetrics::default(),
            inbound_metrics: Arc::default(),
            removed_rows: RemovedCounts::default(),
            store: Arc::clone(store),
            inflight_budget: InflightBudget::new(settings.server.inflight_limit_bytes),
            dropped_lines,
            alarm_status: AlarmStatus::default(),
            store_folder: SqliteUrl::parse(&settings.storage.url)
                .map_or_else(|_| PathBuf::new(), |url| url.folder().to_owned()),
            started_at_ms,
            settings: settings.ops.clone(),
            companies: companies.clone(),
            has_public_url: settings.server.is_public_https(),
        }
    }

    pub(super) fn alarm_monitor_deps(
        &self,
        settings: Current<AlarmSettings>,
        workers: Workers,
        clock: Clock,
    ) -> alarms::AlarmMonitorDeps {
        alarms::AlarmMonitorDeps {
            settings,
            workers,
            store: Arc::clone(&self.store),
            counters: Arc::clone(&self.counters),
            companies: self.companies.clone(),
            clock,
            store_folder: self.store_folder.clone(),
            status: self.alarm_status.clone(),
        }
    }

    /// The health routes of the main listener.
    pub(super) fn health_routes(&self) -> Router {
        self.routes(self.main_listener_trust()).0
    }

    /// The `/metrics` route of the main listener.
    pub(super) fn metrics_routes(&self) -> Router {
        self.routes(self.main_listener_trust()).1
    }

    fn main_listener_trust(&self) -> OperatorTrust {
        if self.settings.listen.is_some() { OperatorTrust::Disabled } else { OperatorTrust::TokenOrLocal }
    }

    fn routes(&self, trust: OperatorTrust) -> (Router, Router) {
        let operator_auth = OperatorAuth::new(self.settings.token.as_ref().map(BearerToken::new), trust);
        let health = HealthState {
            store: Arc::clone(&self.store),
            companies: self.companies.clone(),
            has_public_url: self.has_public_url,
            operator_auth: operator_auth.clone(),
        };
        let metrics = Router::new().route("/metrics", any(serve_metrics)).with_state((self.clone(), operator_auth));
        (health::router(health), metrics)
    }

    async fn metrics_text(&self) -> String {
        let store_stats = tokio::time::timeout(STORE_TIMEOUT, self.store.stats()).await;
        let sources = MetricSources {
            counters: &self.counters,
            deliveries: &self.delivery_metrics,
            functions: &self.function_metrics,
            inbound: &self.inbound_metrics,
            removed_rows: &self.removed_rows,
            inflight_budget: &self.inflight_budget,
            dropped_lines: &self.dropped_lines,
            alarm_status: &self.alarm_status,
            companies: &self.companies.get(),
            disk: DiskSpace::of_filesystem(&self.store_folder),
            started_at_ms: self.started_at_ms,
            store_stats: store_stats.ok().and_then(Result::ok),
            process_stats: ProcessStats::read(),
        };
        exposition::render(sources.collect())
    }
}

/// Serves `/metrics` to operators. For all other requests the route does not seem to exist, whatever the method.
async fn serve_metrics(
    State((ops, operator_auth)): State<(OpsState, OperatorAuth)>,
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
    Ok(([(header::CONTENT_TYPE, content_type)], ops.metrics_text().await).into_response())
}
