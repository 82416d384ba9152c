//! Which workers run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::worker::{Dispatch, Worker};
use crate::base::supervise::Supervisor;
use crate::config::Ordering;
use crate::handlers::{Filter, Registered, Registry};
use crate::storage::{HandlerId, HandlerRow, StoreError};

/// The workers, one a handler. They stop after the batch they are at.
pub struct Workers {
    dispatch: Dispatch,
    /// By the handler's name; those that were stopped stay, see [`Running::turn`].
    known: Mutex<BTreeMap<String, Running>>,
    /// The numbers under which the store knows them.
    ids: Mutex<BTreeMap<String, HandlerId>>,
}

struct Running {
    supervisor: Supervisor,
    /// Held by the worker at work: one that takes its place waits for the other's last batch, so that no two are given the
    /// same events.
    turn: Arc<tokio::sync::Mutex<()>>,
    filter: Filter,
}

impl Workers {
    /// None runs yet.
    #[must_use]
    pub fn new(dispatch: Dispatch) -> Self {
        Self { dispatch, known: Mutex::default(), ids: Mutex::default() }
    }

    /// Makes handlers known to the store, before they are started.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn announce(&self, registry: &Registry) -> Result<(), StoreError> {
        for registered in registry.iter() {
            let row = HandlerRow {
                name: registered.name.clone(),
                ordered: registered.delivery.ordering == Ordering::Call,
                hold_ms: i64::try_from(registered.delivery.hold.as_millis()).unwrap_or(i64::MAX),
            };
            let id = self.dispatch.store.register_handler(row).await?;
            self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(registered.name.clone(), id);
        }
        Ok(())
    }

    /// The handlers that were announced so far.
    pub fn names(&self) -> Vec<String> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Starts the worker of a handler that was announced, in the place of the one of that name if there is one.
    pub fn start(&self, registered: Registered) {
        let id = self.ids.lock().unwrap_or_else(PoisonError::into_inner).get(&registered.name).copied();
        let Some(id) = id else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = known.get(&registered.name).map_or_else(Arc::default, |before| {
            before.supervisor.stop();
            Arc::clone(&before.turn)
        });
        let supervisor = self.dispatch.supervisor.child();
        let filter = registered.filter.clone();
        let running = Running { supervisor: supervisor.clone(), turn: Arc::clone(&turn), filter };
        known.insert(registered.name.clone(), running);
        drop(known);
        let dispatch = Dispatch { supervisor: supervisor.clone(), ..self.dispatch.clone() };
        let worker = Worker::new(dispatch, registered, id);
        let stop = supervisor.clone();
        supervisor.spawn("dispatch", async move {
            tokio::select! {
                () = stop.stopping() => {}
                _turn = turn.lock() => worker.run().await,
            }
        });
    }

    /// The names of those that run.
    #[must_use]
    pub fn at_work(&self) -> BTreeSet<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(_, running)| !running.supervisor.is_stopping()).map(|(name, _)| name.clone()).collect()
    }

    /// Whether one that runs asks for events of this name by name.
    #[must_use]
    pub fn is_named(&self, event: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().any(|running| !running.supervisor.is_stopping() && running.filter.names(event))
    }

    /// Stops the worker of this handler. What it has not been given it is given when it is started again.
    pub fn stop(&self, name: &str) {
        if let Some(running) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            running.supervisor.stop();
        }
    }
}
