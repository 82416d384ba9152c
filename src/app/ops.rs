//! What operators get to see, and where: `/metrics` and the details of health.

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
use super::ReloadHandle;
use super::alarms::{self, AlarmStatus};
use super::health::{self, HealthState};
use super::metrics::MetricSources;
use crate::base::clock::Clock;
use crate::config::{OpsSettings, Settings};
use crate::http::ApiError;
use crate::http::budget::InflightBudget;
use crate::http::company::CurrentCompanyDirectory;
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

/// How long the store may take to say how it is doing; its figures are left out when it takes longer.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the figures come from, and who may see them.
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
    /// What the alarms found.
    alarm_status: AlarmStatus,
    store_folder: PathBuf,
    started_at_ms: i64,
    settings: OpsSettings,
    companies: CurrentCompanyDirectory,
    /// Whether `server.url` is a public https address.
    has_public_url: bool,
}

impl Receiver {
    /// The receiver's metrics as Prometheus reads them (format `OpenMetrics`, names `retell_webhook_*`), for an application
    /// that shows metrics of its own. [`Receiver::standalone`] has them at `/metrics`; [`Receiver::router`] has not.
    pub async fn metrics_text(&self) -> String {
        self.ops.metrics_text().await
    }

    /// `/metrics` and health with its details, for the listener that `ops.listen` asks for. On a loopback address everybody is
    /// answered, on any other whoever presents `ops.token`.
    pub fn ops_router(&self) -> Router {
        let trusted = match self.ops.settings.listen {
            Some(address) if address.ip().to_canonical().is_loopback() => OperatorTrust::AllRequests,
            Some(_) => OperatorTrust::TokenOnly,
            None => OperatorTrust::TokenOrLocal,
        };
        let (health, metrics) = self.ops.routes(trusted);
        health.merge(metrics).fallback(async || ApiError::NotFound("Not Found"))
    }
}

impl OpsState {
    /// Counts from zero.
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

    /// What the alarms look at.
    pub(super) fn alarm_monitor_deps(&self, reload: &ReloadHandle, clock: Clock) -> alarms::AlarmMonitorDeps {
        alarms::AlarmMonitorDeps {
            reload: reload.clone(),
            store: Arc::clone(&self.store),
            counters: Arc::clone(&self.counters),
            companies: self.companies.clone(),
            clock,
            store_folder: self.store_folder.clone(),
            status: self.alarm_status.clone(),
        }
    }

    /// Health on the main address.
    pub(super) fn health_routes(&self) -> Router {
        self.routes(self.main_listener_trust()).0
    }

    /// `/metrics` on the main address.
    pub(super) fn metrics_routes(&self) -> Router {
        self.routes(self.main_listener_trust()).1
    }

    fn main_listener_trust(&self) -> OperatorTrust {
        if self.settings.listen.is_some() { OperatorTrust::Disabled } else { OperatorTrust::TokenOrLocal }
    }

    fn routes(&self, trusted: OperatorTrust) -> (Router, Router) {
        let operators = OperatorAuth::new(self.settings.token.as_ref().map(BearerToken::new), trusted);
        let health = HealthState {
            store: Arc::clone(&self.store),
            companies: self.companies.clone(),
            has_public_url: self.has_public_url,
            operator_auth: operators.clone(),
        };
        let metrics = Router::new().route("/metrics", any(serve_metrics)).with_state((self.clone(), operators));
        (health::router(health), metrics)
    }

    async fn metrics_text(&self) -> String {
        let store = tokio::time::timeout(STORE_TIMEOUT, self.store.stats()).await;
        let figures = MetricSources {
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
            store_stats: store.ok().and_then(Result::ok),
            process_stats: ProcessStats::read(),
        };
        exposition::render(figures.collect())
    }
}

/// To anybody else it is as if there were no such address, whatever the method.
async fn serve_metrics(
    State((ops, operators)): State<(OpsState, OperatorAuth)>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !operators.is_authorized(peer.map(|Extension(info)| info.0), &headers) {
        return Err(ApiError::NotFound("Not Found"));
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return Err(ApiError::MethodNotAllowed);
    }
    let content_type = HeaderValue::from_static(exposition::CONTENT_TYPE);
    Ok(([(header::CONTENT_TYPE, content_type)], ops.metrics_text().await).into_response())
}
