//! Which workers run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::worker::{DispatchDeps, Worker};
use crate::base::supervise::Supervisor;
use crate::config::DeliveryOrdering;
use crate::handlers::{Filter, HandlerRegistry, RegisteredHandler};
use crate::storage::{HandlerId, HandlerRow, StoreError};

/// The workers, one a handler. They stop after the batch they are at.
pub(crate) struct Workers {
    deps: DispatchDeps,
    /// By the handler's name; those that were stopped stay, see [`WorkerHandle::turn`].
    workers: Mutex<BTreeMap<String, WorkerHandle>>,
    /// The numbers under which the store knows them.
    handler_ids: Mutex<BTreeMap<String, HandlerId>>,
}

struct WorkerHandle {
    supervisor: Supervisor,
    /// Held by the worker at work: one that takes its place waits for the other's last batch, so that no two are given the
    /// same events.
    run_lock: Arc<tokio::sync::Mutex<()>>,
    filter: Filter,
}

impl Workers {
    /// None runs yet.
    #[must_use]
    pub(crate) fn new(dispatch: DispatchDeps) -> Self {
        Self { deps: dispatch, workers: Mutex::default(), handler_ids: Mutex::default() }
    }

    /// Makes handlers known to the store, before they are started.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(crate) async fn register_handlers(&self, registry: &HandlerRegistry) -> Result<(), StoreError> {
        for registered in registry.iter() {
            let row = HandlerRow {
                name: registered.name.clone(),
                ordered: registered.delivery.ordering == DeliveryOrdering::Call,
                max_hold_ms: i64::try_from(registered.delivery.ordering_timeout.as_millis()).unwrap_or(i64::MAX),
            };
            let id = self.deps.store.register_handler(row).await?;
            self.handler_ids.lock().unwrap_or_else(PoisonError::into_inner).insert(registered.name.clone(), id);
        }
        Ok(())
    }

    /// The handlers that were announced so far.
    pub(crate) fn registered_handlers(&self) -> Vec<String> {
        self.handler_ids.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Starts the worker of a handler that was announced, in the place of the one of that name if there is one.
    pub(crate) fn start(&self, registered: RegisteredHandler) {
        let id = self.handler_ids.lock().unwrap_or_else(PoisonError::into_inner).get(&registered.name).copied();
        let Some(id) = id else {
            return;
        };
        let mut known = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = known.get(&registered.name).map_or_else(Arc::default, |before| {
            before.supervisor.stop();
            Arc::clone(&before.run_lock)
        });
        let supervisor = self.deps.supervisor.child();
        let filter = registered.filter.clone();
        let running = WorkerHandle { supervisor: supervisor.clone(), run_lock: Arc::clone(&turn), filter };
        known.insert(registered.name.clone(), running);
        drop(known);
        let dispatch = DispatchDeps { supervisor: supervisor.clone(), ..self.deps.clone() };
        let worker = Worker::new(dispatch, registered, id);
        let stop = supervisor.clone();
        supervisor.spawn("dispatch", async move {
            tokio::select! {
                () = stop.wait_for_stop() => {}
                _turn = turn.lock() => worker.run().await,
            }
        });
    }

    /// The names of those that run.
    #[must_use]
    pub(crate) fn running_handlers(&self) -> BTreeSet<String> {
        let known = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(_, running)| !running.supervisor.is_stopping()).map(|(name, _)| name.clone()).collect()
    }

    /// Whether one that runs asks for events of this name by name.
    #[must_use]
    pub(crate) fn is_event_selected_by_name(&self, event: &str) -> bool {
        let known = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().any(|running| !running.supervisor.is_stopping() && running.filter.names_event(event))
    }

    /// Stops the worker of this handler. What it has not been given it is given when it is started again.
    pub(crate) fn stop(&self, name: &str) {
        if let Some(running) = self.workers.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            running.supervisor.stop();
        }
    }
}
