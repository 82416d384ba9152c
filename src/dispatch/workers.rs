//! Starts, replaces and stops the workers of the handlers, at start and when the settings are reloaded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::budget::PrefetchBudget;
use super::worker::{DispatchDeps, Worker};
use crate::base::clock::to_ms;
use crate::base::supervise::Supervisor;
use crate::config::DeliveryOrdering;
use crate::handlers::{Filter, HandlerRegistry, RegisteredHandler};
use crate::storage::{HandlerId, HandlerRow, StoreError};

/// One worker per handler. A worker that is stopped finishes its current store batch first. Clones share the workers.
#[derive(Clone)]
pub(crate) struct Workers {
    deps: DispatchDeps,
    prefetch_budget: PrefetchBudget,
    /// By handler name. Stopped workers stay in the map, because a successor needs their [`WorkerHandle::run_lock`].
    workers: Arc<Mutex<BTreeMap<String, WorkerHandle>>>,
    /// Ids of the registered handlers in the store, by name.
    handler_ids: Arc<Mutex<BTreeMap<String, HandlerId>>>,
}

struct WorkerHandle {
    supervisor: Supervisor,
    /// Held while the worker runs. Its successor waits for the lock: with two workers of one handler at a time in this
    /// receiver, the concurrency limit, the rate limit and the circuit breaker would not hold.
    run_lock: Arc<tokio::sync::Mutex<()>>,
    filter: Filter,
}

impl Workers {
    #[must_use]
    pub(crate) fn new(dispatch: DispatchDeps) -> Self {
        Self {
            deps: dispatch,
            prefetch_budget: PrefetchBudget::default(),
            workers: Arc::default(),
            handler_ids: Arc::default(),
        }
    }

    /// Registers handlers in the store. Must come before [`Workers::start`].
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be written.
    pub(crate) async fn register_handlers(&self, registry: &HandlerRegistry) -> Result<(), StoreError> {
        for registered in registry.iter() {
            let row = HandlerRow {
                name: registered.name.clone(),
                ordered: registered.delivery.ordering == DeliveryOrdering::Call,
                ordering_timeout_ms: to_ms(registered.delivery.ordering_timeout),
            };
            let id = self.deps.queue.register_handler(row).await?;
            self.handler_ids.lock().unwrap_or_else(PoisonError::into_inner).insert(registered.name.clone(), id);
        }
        Ok(())
    }

    /// Names of all handlers registered so far, running or not.
    pub(crate) fn registered_handlers(&self) -> Vec<String> {
        self.handler_ids.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Starts the worker of a registered handler. A running worker of the same name is stopped and replaced. Does
    /// nothing for a handler that is not registered.
    pub(crate) fn start(&self, registered: RegisteredHandler) {
        let id = self.handler_ids.lock().unwrap_or_else(PoisonError::into_inner).get(&registered.name).copied();
        let Some(id) = id else {
            return;
        };
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let run_lock = match workers.get(&registered.name) {
            Some(previous) => {
                previous.supervisor.stop();
                Arc::clone(&previous.run_lock)
            }
            None => Arc::default(),
        };
        // A child supervisor: this worker can be stopped alone, and still stops with the service.
        let supervisor = self.deps.supervisor.child();
        let filter = registered.filter.clone();
        let handle = WorkerHandle { supervisor: supervisor.clone(), run_lock: Arc::clone(&run_lock), filter };
        workers.insert(registered.name.clone(), handle);
        drop(workers);
        let dispatch = DispatchDeps { supervisor: supervisor.clone(), ..self.deps.clone() };
        let worker = Worker::new(dispatch, self.prefetch_budget.clone(), registered, id);
        let stop = supervisor.clone();
        supervisor.spawn("dispatch", async move {
            tokio::select! {
                // A worker may be replaced before its predecessor has ended; then it never runs.
                () = stop.wait_for_stop() => {}
                _guard = run_lock.lock() => worker.run().await,
            }
        });
    }

    /// Names of the handlers whose worker is running.
    #[must_use]
    pub(crate) fn running_handlers(&self) -> BTreeSet<String> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let running = workers.iter().filter(|(_, worker)| !worker.supervisor.is_stopping());
        running.map(|(name, _)| name.clone()).collect()
    }

    /// Whether the filter of a running handler lists this event kind explicitly.
    #[must_use]
    pub(crate) fn is_event_selected_by_name(&self, event: &str) -> bool {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.values().any(|worker| !worker.supervisor.is_stopping() && worker.filter.names_event(event))
    }

    /// Stops the worker of this handler. Events that it has not planned are delivered when it is started again.
    pub(crate) fn stop(&self, name: &str) {
        if let Some(worker) = self.workers.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            worker.supervisor.stop();
        }
    }
}
