//! Keeps what was answered, behind the answer: nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Keeping, Seat};
use crate::base::supervise::Supervisor;
use crate::storage::{InboundAnswered, Store};

/// Answers waiting to be written; further ones are not kept, which the log says.
const ROOM: usize = 1_024;
/// How long the store may take, for the request first and then for its answer.
const KEEPING: Duration = Duration::from_secs(70);

pub(super) struct Ledger {
    store: Arc<dyn Store>,
    supervisor: Supervisor,
    room: Arc<Semaphore>,
}

impl Ledger {
    pub(super) fn new(store: Arc<dyn Store>, supervisor: Supervisor) -> Self {
        Self { store, supervisor, room: Arc::new(Semaphore::new(ROOM)) }
    }

    /// `request` says when the request itself is on disk, and as which event. Requests that come again meanwhile find the
    /// answer by `seat`.
    pub(super) fn keep(&self, answered: InboundAnswered, request: Keeping, seat: Option<Seat>) {
        let event_id = answered.event_id;
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::warn!(%event_id, "an inbound answer is not kept in the ledger: too many wait for the store");
            return;
        };
        let store = Arc::clone(&self.store);
        // Tasks that share a commit; what is under way when the service stops is waited for.
        self.supervisor.spawn_detached(async move {
            let keeping = async {
                // Who keeps the request says by itself when it cannot be kept.
                let (event_id, _) = request.await?;
                Some(store.keep_inbound_answer(InboundAnswered { event_id, ..answered }).await)
            };
            match tokio::time::timeout(KEEPING, keeping).await {
                Ok(Some(Ok(())) | None) => {}
                Ok(Some(Err(error))) => {
                    tracing::warn!(%event_id, %error, "an inbound answer is not kept in the ledger");
                }
                Err(_) => {
                    tracing::warn!(%event_id, "an inbound answer is not kept in the ledger: the store is too slow");
                }
            }
            drop((place, seat));
        });
    }
}
