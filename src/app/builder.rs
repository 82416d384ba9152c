//! A receiver, built from settings or by hand.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::devkey;
use super::ops::Ops;
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::base::secret::Secret;
use crate::base::supervise::Supervisor;
use crate::config::Settings;
use crate::dispatch::{self, Dispatch};
use crate::event::{Call, Event};
use crate::handlers::{Closures, Context, EventHandler, Filter, Outcome, Registered, Registry};
use crate::http::ApiError;
use crate::http::layer::SignatureLayer;
use crate::intake::{self, Endpoint, Intake};
use crate::security::keys::ApiKey;
use crate::security::signature::Verifier;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{Store, StoreError};
use crate::telemetry::counters::Counters;
use crate::telemetry::deliveries::Deliveries;
use crate::telemetry::logging::DroppedLines;

/// The whole of a request, below Retell's 10 s. The parts have shorter times of their own.
const REQUEST: Duration = Duration::from_secs(9);

/// Why a receiver could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The settings are refused.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two handlers have this name: they would share one place in the journal.
    #[error("two handlers are named `{0}`; the store remembers by its name how far each has come")]
    HandlerName(String),
    /// The development key cannot be read or written.
    #[error("cannot read or write the development key: {0}; make the data folder writable, or set RETELL_API_KEY")]
    DevKey(std::io::Error),
}

/// Builds a [`Receiver`]. See the [crate's front page](crate) for an example.
#[derive(Default)]
pub struct ReceiverBuilder {
    settings: Option<Settings>,
    keys: Vec<Secret>,
    storage_url: Option<String>,
    clock: Clock,
    port: Option<u16>,
    handlers: Vec<Registered>,
    closures: Closures,
    dropped_lines: DroppedLines,
}

impl ReceiverBuilder {
    /// Starts from these settings instead of the defaults (without the built-in handlers).
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Accepts what this API key signed. Call it again for a second key while you rotate.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.keys.push(Secret::new(key));
        self
    }

    /// Keeps events at this `sqlite://` URL.
    #[must_use]
    pub fn storage_url(mut self, url: impl Into<String>) -> Self {
        self.storage_url = Some(url.into());
        self
    }

    /// The port really listened on, when it differs from `server.port`; shown in the webhook's URL.
    #[must_use]
    pub fn listening_on(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Shows how many log lines were left out among the metrics.
    #[must_use]
    pub fn dropped_lines(mut self, dropped_lines: DroppedLines) -> Self {
        self.dropped_lines = dropped_lines;
        self
    }

    /// Adds a handler. The store remembers by `name` how far it has come, so keep it over restarts.
    #[must_use]
    pub fn handler(mut self, name: impl Into<String>, filter: Filter, handler: impl EventHandler + 'static) -> Self {
        self.handlers.push(Registered { name: name.into(), filter, handler: Arc::new(handler) });
        self
    }

    /// Runs `run` for `call_started`. All closures together are the handler named `closures`.
    #[must_use]
    pub fn on_call_started<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_call_started(run);
        self
    }

    /// Runs `run` for `call_ended`.
    #[must_use]
    pub fn on_call_ended<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_call_ended(run);
        self
    }

    /// Runs `run` for `call_analyzed`.
    #[must_use]
    pub fn on_call_analyzed<F>(mut self, run: impl Fn(Call, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_call_analyzed(run);
        self
    }

    /// Runs `run` for every other event.
    #[must_use]
    pub fn on_other<F>(mut self, run: impl Fn(Event, Context) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.closures = self.closures.on_other(run);
        self
    }

    /// Opens the store and starts the handlers. Needs a running tokio runtime.
    ///
    /// # Errors
    /// [`BuildError`] says what to change.
    pub async fn build(self) -> Result<Receiver, BuildError> {
        let mut settings = self.settings.unwrap_or_else(|| Settings { handlers: Vec::new(), ..Settings::default() });
        settings.security.keys.extend(self.keys);
        settings.storage.url = self.storage_url.unwrap_or(settings.storage.url);
        settings.validate()?;
        let url = SqliteUrl::parse(&settings.storage.url)?;
        let supervisor = Supervisor::default();
        let stop = StopOnDrop(supervisor.clone());
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&url, &supervisor)?);
        let mut registry = Registry::configured(&settings.handlers, &store);
        for registered in self.handlers {
            registry.add(registered).map_err(BuildError::HandlerName)?;
        }
        if !self.closures.is_empty() {
            let handler: Arc<dyn EventHandler> = Arc::new(self.closures);
            let closures = Registered { name: "closures".into(), filter: Filter::all(), handler };
            registry.add(closures).map_err(BuildError::HandlerName)?;
        }
        let keys = keys(&settings, &url)?;
        let deliveries = Deliveries::of(registry.iter().map(|registered| registered.name.as_str()));
        let ops = Ops::new(&settings, &store, deliveries.clone(), self.dropped_lines, self.clock.now_ms());
        let dispatch = Dispatch {
            store: Arc::clone(&store),
            clock: self.clock.clone(),
            supervisor: supervisor.clone(),
            deliveries,
        };
        dispatch::start(&dispatch, &registry).await?;
        let counters = Arc::clone(&ops.counters);
        let signature =
            signature_layer(&settings, keys, self.clock, &counters).with_inflight_budget(ops.inflight.clone());
        let port = self.port.unwrap_or(settings.server.port);
        let router = guarded(router(&settings, &store, &counters, &signature, port).merge(ops.health_routes()));
        Ok(Receiver { router, registry, store, counters, supervisor, ops, _stop: stop })
    }
}

fn keys(settings: &Settings, url: &SqliteUrl) -> Result<Vec<ApiKey>, BuildError> {
    if settings.security.keys.is_empty() && settings.security.verify {
        let key = devkey::read_or_create(url.folder()).map_err(BuildError::DevKey)?;
        return Ok(vec![ApiKey::new(&key)]);
    }
    Ok(settings.security.keys.iter().map(ApiKey::new).collect())
}

fn signature_layer(settings: &Settings, keys: Vec<ApiKey>, clock: Clock, counters: &Arc<Counters>) -> SignatureLayer {
    let layer = if settings.security.verify {
        SignatureLayer::new(Verifier::new(keys).with_window_ms(settings.security.window_ms))
    } else {
        SignatureLayer::without_verification()
    };
    let (refusals, unread) = (Arc::clone(counters), Arc::clone(counters));
    layer
        .with_clock(clock)
        .with_body_limit_bytes(settings.server.body_limit_bytes)
        .on_refusal(move |refused| {
            refusals.count(refused.reason.label());
            let peer = refused.peer.map(tracing::field::display);
            tracing::warn!(peer, size_bytes = refused.size_bytes, "webhook refused (401): {}", refused.reason);
        })
        .on_not_read(move |not_read| {
            unread.count(not_read.label());
            let peer = not_read.peer.map(tracing::field::display);
            tracing::warn!(peer, reason = not_read.label(), "webhook not taken in, its body could not be read");
        })
}

/// Outermost first: a panic becomes a 500, a webhook that takes too long a 503.
fn router(
    settings: &Settings,
    store: &Arc<dyn Store>,
    counters: &Arc<Counters>,
    signature: &SignatureLayer,
    port: u16,
) -> Router {
    let endpoint = Endpoint {
        intake: Intake::new(Arc::clone(store), Arc::clone(counters)),
        verify: settings.security.verify,
        public_url: settings.server.public_url(port).into(),
        instance: random_hex().into(),
    };
    intake::router(Arc::new(endpoint), signature)
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST))
        .layer(map_response(say_when_to_retry))
}

/// What every route has in common, besides the answers to unknown ones.
fn guarded(router: Router) -> Router {
    router
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(CatchPanicLayer::custom(|_| -> Response { ApiError::Internal.into_response() }))
}

/// The time-out layer answers an empty 503; a sender is owed the same as for any other.
async fn say_when_to_retry(response: Response) -> Response {
    let bare = response.status() == StatusCode::SERVICE_UNAVAILABLE && !response.headers().contains_key(RETRY_AFTER);
    if bare { ApiError::Unavailable.into_response() } else { response }
}

/// A running receiver: a store, handlers at work, and routes to mount.
pub struct Receiver {
    router: Router,
    registry: Registry,
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    supervisor: Supervisor,
    pub(super) ops: Ops,
    _stop: StopOnDrop,
}

impl Receiver {
    /// Starts building one.
    #[must_use]
    pub fn builder() -> ReceiverBuilder {
        ReceiverBuilder::default()
    }

    /// The webhook and health routes, to be merged into a router of yours.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The same with `/metrics`, and with JSON answers for unknown paths and methods, to be served by itself. (A router may have one fallback:
    /// one in [`Receiver::router`] would clash with yours.)
    pub fn standalone(&self) -> Router {
        self.router().merge(self.ops.metrics_routes()).fallback(async || ApiError::NotFound("Not Found"))
    }

    /// The handlers.
    #[must_use]
    pub fn handlers(&self) -> &Registry {
        &self.registry
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Counts since start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The parts at work.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Stops the handlers after what they are at, and closes the store.
    ///
    /// # Errors
    /// The store did not finish in time; what was acknowledged is on disk all the same.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        self.supervisor.stop();
        if tokio::time::timeout(Duration::from_secs(10), self.supervisor.wait()).await.is_err() {
            tracing::warn!("a handler did not stop within 10 s; what it was at is handled again after the next start");
        }
        self.store.close().await
    }
}

/// Stops the parts when a receiver is dropped, or could not be built: else they would keep the store locked.
struct StopOnDrop(Supervisor);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
