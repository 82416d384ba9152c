//! A running receiver: its routes, how it is served, and how it stops.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use tokio::net::TcpListener;

use super::builder::ReceiverBuilder;
use super::context::AppContext;
use super::reload::ReloadHandle;
use super::routes::{OperatorRoutes, Routers};
use super::serve::{ConnectionPolicy, serve};
use super::shutdown_signal::shutdown_signal;
use crate::base::supervise::Supervisor;
use crate::handlers::HandlerRegistry;
use crate::rejections::RejectionRecorder;
use crate::storage::{Store, StoreError};
use crate::telemetry::requests::RequestCounters;

/// How long handlers, timers and the store may take to finish when the receiver shuts down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why [`Receiver::serve`] ended with an error. Every acknowledged event is on disk in each case.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No handler for SIGTERM can be installed.
    #[error("cannot install a signal handler: {0}")]
    Signal(std::io::Error),
    /// A component of the receiver panicked or ended early. The log names it.
    #[error("a component of the receiver failed, see the log; every acknowledged event is on disk")]
    ComponentFailed,
    /// Connections were still open when the time for shutting down was over.
    #[error("{0} connections were cut off during shutdown; none of their requests was acknowledged")]
    ConnectionsCutOff(usize),
    /// The store did not close in time.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running receiver: an open store, handlers at work, and routes to serve.
///
/// Dropping it stops its tasks. Call [`shutdown`](Self::shutdown) to wait until they have finished.
pub struct Receiver {
    pub(super) context: AppContext,
    pub(super) routers: Routers,
    pub(super) operator_routes: OperatorRoutes,
    pub(super) registry: HandlerRegistry,
    pub(super) rejections: Arc<RejectionRecorder>,
    pub(super) reload_handle: ReloadHandle,
    pub(super) _stop: StopOnDrop,
}

impl Receiver {
    /// Starts building a receiver. See the [crate's front page](crate) for an example.
    #[must_use]
    pub fn builder() -> ReceiverBuilder {
        ReceiverBuilder::default()
    }

    /// The routes that Retell calls, to be merged into your own router: webhooks, inbound calls, custom functions and the
    /// test endpoint. No health routes, no fallback.
    ///
    /// Serve the router with `into_make_service_with_connect_info::<SocketAddr>()`: without the peer's address all senders
    /// share one part of the in-flight budget.
    pub fn webhook_router(&self) -> Router {
        self.routers.webhook.clone()
    }

    /// Everything that [`serve`](Self::serve) serves: the webhook routes, `/ping`, `/health/…`, a page at `/`, the API
    /// documentation, and JSON responses for unknown paths. `/metrics` and the results of the health checks only for
    /// requests with `ops.token`.
    pub fn router(&self) -> Router {
        let Routers { webhook, health, root, docs } = self.routers.clone();
        let rejections = Arc::clone(&self.rejections);
        let known_routes = webhook.merge(health).merge(docs).merge(self.operator_routes.metrics_routes());
        let unknown_path = async move |request: Request| rejections.answer_unknown_path(&request);
        // A webhook that is sent to `/` has the wrong URL, which is logged.
        known_routes.route("/", root.fallback(unknown_path.clone())).fallback(unknown_path)
    }

    /// Serves [`router`](Self::router) on `listener` until Ctrl-C or SIGTERM, then finishes accepted requests, stops the
    /// handlers and closes the store.
    ///
    /// Unlike `axum::serve` it bounds the number of connections, and closes those that are idle or slow for 8 s.
    ///
    /// # Errors
    /// [`ServeError`]; everything that was acknowledged is on disk all the same.
    pub async fn serve(self, listener: TcpListener) -> Result<(), ServeError> {
        let signal = shutdown_signal().map_err(ServeError::Signal)?;
        self.serve_until(listener, signal).await
    }

    /// The same as [`serve`](Self::serve), until `stop` completes instead of a signal.
    ///
    /// # Errors
    /// [`ServeError`], as for `serve`.
    pub async fn serve_until(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        self.stop_when(stop);
        let connections_cut_off =
            serve(listener, self.router(), self.connection_policy(), &self.context.supervisor).await;
        self.finish(connections_cut_off).await
    }

    /// The limits on connections to the main listener.
    #[doc(hidden)]
    #[must_use]
    pub fn connection_policy(&self) -> ConnectionPolicy {
        let metrics = &self.context.metrics;
        let (budget, counters) = (metrics.inflight_budget.clone(), Arc::clone(&metrics.connections));
        ConnectionPolicy::for_webhooks(self.context.trusted_proxies.clone(), budget, counters)
    }

    pub(crate) fn operator_connection_policy(&self) -> ConnectionPolicy {
        ConnectionPolicy::for_operators(self.context.metrics.inflight_budget.clone())
    }

    /// Stops the receiver when `stop` completes.
    pub(crate) fn stop_when(&self, stop: impl Future<Output = ()> + Send + 'static) {
        let supervisor = self.context.supervisor.clone();
        self.context.supervisor.spawn_detached(async move {
            tokio::select! {
                () = stop => {}
                // A failed component stops the receiver as well; this task must not outlive it.
                () = supervisor.wait_for_stop() => {}
            }
            supervisor.stop();
        });
    }

    /// Shuts down after serving and reports what went wrong meanwhile, the most severe first.
    pub(crate) async fn finish(self, connections_cut_off: usize) -> Result<(), ServeError> {
        let supervisor = self.context.supervisor.clone();
        let closed = self.shutdown().await;
        if supervisor.has_failed() {
            return Err(ServeError::ComponentFailed);
        }
        if connections_cut_off > 0 {
            return Err(ServeError::ConnectionsCutOff(connections_cut_off));
        }
        Ok(closed?)
    }

    /// Completes when the receiver stops by itself because a component failed. Nothing can be stored from then on, so a
    /// server that mounts [`webhook_router`](Self::webhook_router) shuts down and calls [`shutdown`](Self::shutdown).
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let supervisor = self.context.supervisor.clone();
        async move { supervisor.wait_for_stop().await }
    }

    /// A handle that replaces companies, keys, handlers, functions and inbound rules while the receiver runs.
    #[must_use]
    pub fn reload_handle(&self) -> ReloadHandle {
        self.reload_handle.clone()
    }

    /// Stops the handlers after their current attempts, and closes the store.
    ///
    /// # Errors
    /// The store did not close in time; what was acknowledged is on disk all the same.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        self.context.supervisor.stop();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, self.context.supervisor.wait_for_tasks()).await.is_err() {
            // Their deliveries are not settled, so the next start claims and attempts them again.
            tracing::warn!(timeout_ms = SHUTDOWN_TIMEOUT.as_millis(), "tasks did not stop in time");
        }
        self.context.store.close().await
    }

    /// The handlers that were registered when the receiver was built.
    #[doc(hidden)]
    #[must_use]
    pub fn handlers(&self) -> &HandlerRegistry {
        &self.registry
    }

    /// The open store.
    #[doc(hidden)]
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.context.store
    }

    /// Request counters since the start.
    #[doc(hidden)]
    #[must_use]
    pub fn counters(&self) -> &RequestCounters {
        &self.context.metrics.counters
    }

    /// The supervisor of the receiver's tasks.
    #[doc(hidden)]
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.context.supervisor
    }
}

/// Stops all tasks when the receiver is dropped or could not be built. Otherwise they would keep the store locked.
pub(super) struct StopOnDrop(pub(super) Supervisor);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
