//! A running receiver: its routes, and how it stops.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;

use super::builder::ReceiverBuilder;
use super::docs;
use super::ops::OpsState;
use super::rejections::RejectionRecorder;
use super::reload::ReloadHandle;
use crate::base::supervise::Supervisor;
use crate::handlers::HandlerRegistry;
use crate::http::ApiError;
use crate::storage::{Store, StoreError};
use crate::telemetry::requests::RequestCounters;

/// A running receiver: a store, handlers at work, and routes to mount.
pub struct Receiver {
    pub(super) router: Router,
    /// The address to show in the documentation; `None`: it is not served.
    pub(super) docs_public_url: Option<String>,
    pub(super) registry: HandlerRegistry,
    pub(super) store: Arc<dyn Store>,
    pub(super) rejections: Arc<RejectionRecorder>,
    pub(super) reload_handle: ReloadHandle,
    pub(super) supervisor: Supervisor,
    pub(super) ops: OpsState,
    pub(super) _stop: StopOnDrop,
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

    /// The same with `/metrics`, the documentation's pages and JSON answers for unknown paths, to be served by itself. (A
    /// router may have one fallback: one in [`Receiver::router`] would clash with yours.)
    pub fn standalone(&self) -> Router {
        let docs = self.docs_public_url.as_deref().map(docs::router).unwrap_or_default();
        let refusals = Arc::clone(&self.rejections);
        self.router().merge(self.ops.metrics_routes()).merge(docs).fallback(async move |request: Request| {
            refusals.log_unknown_path(&request);
            ApiError::NotFound("Not Found")
        })
    }

    /// Exchanges companies, keys and handlers while it runs.
    #[must_use]
    pub fn reload_handle(&self) -> ReloadHandle {
        self.reload_handle.clone()
    }

    /// The handlers it was built with.
    #[must_use]
    pub fn handlers(&self) -> &HandlerRegistry {
        &self.registry
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Counts since start.
    #[must_use]
    pub fn counters(&self) -> &RequestCounters {
        &self.ops.counters
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
        if tokio::time::timeout(Duration::from_secs(10), self.supervisor.wait_for_tasks()).await.is_err() {
            tracing::warn!(
                "something under way did not stop within 10 s; what handlers were at is handled again after the next start"
            );
        }
        self.store.close().await
    }
}

/// Stops the parts when a receiver is dropped, or could not be built: else they would keep the store locked.
pub(super) struct StopOnDrop(pub(super) Supervisor);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
