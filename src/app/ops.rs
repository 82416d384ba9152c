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
use super::Reload;
use super::alarms::{self, Shown};
use super::health::{self, Health};
use super::metrics::Figures;
use crate::base::clock::Clock;
use crate::config::{OpsSettings, Settings};
use crate::http::ApiError;
use crate::http::budget::InflightBudget;
use crate::http::company::CurrentCompanies;
use crate::http::operator::{Operators, Trusted};
use crate::security::token::Token;
use crate::storage::Store;
use crate::storage::sqlite::SqliteUrl;
use crate::telemetry::counters::Counters;
use crate::telemetry::deliveries::Deliveries;
use crate::telemetry::disk::DiskSpace;
use crate::telemetry::exposition;
use crate::telemetry::functions::FunctionMetrics;
use crate::telemetry::inbound::InboundCounts;
use crate::telemetry::logging::DroppedLines;
use crate::telemetry::process::ProcessUse;
use crate::telemetry::retention::RemovedCounts;

/// How long the store may take to say how it is doing; its figures are left out when it takes longer.
const STORE: Duration = Duration::from_secs(1);

/// Where the figures come from, and who may see them.
#[derive(Clone)]
pub(super) struct Ops {
    pub(super) counters: Arc<Counters>,
    pub(super) deliveries: Deliveries,
    pub(super) functions: FunctionMetrics,
    pub(super) inbound: Arc<InboundCounts>,
    pub(super) removed: RemovedCounts,
    store: Arc<dyn Store>,
    pub(super) inflight: InflightBudget,
    dropped_lines: DroppedLines,
    /// What the alarms found.
    shown: Shown,
    folder: PathBuf,
    started_at_ms: i64,
    settings: OpsSettings,
    companies: CurrentCompanies,
    /// Whether `server.url` is a public https address.
    public: bool,
}

impl Receiver {
    /// The receiver's metrics as Prometheus reads them (format `OpenMetrics`, names `retell_webhook_*`), for an application
    /// that shows metrics of its own. [`Receiver::standalone`] has them at `/metrics`; [`Receiver::router`] has not.
    pub async fn metrics_text(&self) -> String {
        self.ops.text().await
    }

    /// `/metrics` and health with its details, for the listener that `ops.listen` asks for. On a loopback address everybody is
    /// answered, on any other whoever presents `ops.token`.
    pub fn ops_router(&self) -> Router {
        let trusted = match self.ops.settings.listen {
            Some(address) if address.ip().to_canonical().is_loopback() => Trusted::Everybody,
            Some(_) => Trusted::Nobody,
            None => Trusted::ThisMachine,
        };
        let (health, metrics) = self.ops.routes(trusted);
        health.merge(metrics).fallback(async || ApiError::NotFound("Not Found"))
    }
}

impl Ops {
    /// Counts from zero.
    pub(super) fn new(
        settings: &Settings,
        store: &Arc<dyn Store>,
        companies: &CurrentCompanies,
        dropped_lines: DroppedLines,
        started_at_ms: i64,
    ) -> Self {
        Self {
            counters: Arc::default(),
            deliveries: Deliveries::default(),
            functions: FunctionMetrics::default(),
            inbound: Arc::default(),
            removed: RemovedCounts::default(),
            store: Arc::clone(store),
            inflight: InflightBudget::new(settings.server.inflight_limit_bytes),
            dropped_lines,
            shown: Shown::default(),
            folder: SqliteUrl::parse(&settings.storage.url)
                .map_or_else(|_| PathBuf::new(), |url| url.folder().to_owned()),
            started_at_ms,
            settings: settings.ops.clone(),
            companies: companies.clone(),
            public: settings.server.is_public_https(),
        }
    }

    /// What the alarms look at.
    pub(super) fn watch(&self, reload: &Reload, clock: Clock) -> alarms::Parts {
        alarms::Parts {
            reload: reload.clone(),
            store: Arc::clone(&self.store),
            counters: Arc::clone(&self.counters),
            companies: self.companies.clone(),
            clock,
            folder: self.folder.clone(),
            shown: self.shown.clone(),
        }
    }

    /// Health on the main address.
    pub(super) fn health_routes(&self) -> Router {
        self.routes(self.trusted_on_main()).0
    }

    /// `/metrics` on the main address.
    pub(super) fn metrics_routes(&self) -> Router {
        self.routes(self.trusted_on_main()).1
    }

    fn trusted_on_main(&self) -> Trusted {
        if self.settings.listen.is_some() { Trusted::Never } else { Trusted::ThisMachine }
    }

    fn routes(&self, trusted: Trusted) -> (Router, Router) {
        let operators = Operators::new(self.settings.token.as_ref().map(Token::new), trusted);
        let health = Health {
            store: Arc::clone(&self.store),
            companies: self.companies.clone(),
            public: self.public,
            operators: operators.clone(),
        };
        let metrics = Router::new().route("/metrics", any(answer)).with_state((self.clone(), operators));
        (health::router(health), metrics)
    }

    async fn text(&self) -> String {
        let store = tokio::time::timeout(STORE, self.store.stats()).await;
        let figures = Figures {
            counters: &self.counters,
            deliveries: &self.deliveries,
            functions: &self.functions,
            inbound: &self.inbound,
            removed: &self.removed,
            inflight: &self.inflight,
            dropped_lines: &self.dropped_lines,
            shown: &self.shown,
            companies: &self.companies.get(),
            disk: DiskSpace::under(&self.folder),
            started_at_ms: self.started_at_ms,
            store: store.ok().and_then(Result::ok),
            process: ProcessUse::now(),
        };
        exposition::render(figures.metrics())
    }
}

/// To anybody else it is as if there were no such address, whatever the method.
async fn answer(
    State((ops, operators)): State<(Ops, Operators)>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !operators.admit(peer.map(|Extension(info)| info.0), &headers) {
        return Err(ApiError::NotFound("Not Found"));
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return Err(ApiError::MethodNotAllowed);
    }
    let content_type = HeaderValue::from_static(exposition::CONTENT_TYPE);
    Ok(([(header::CONTENT_TYPE, content_type)], ops.text().await).into_response())
}
