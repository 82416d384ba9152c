//! Keeps what was answered, behind the answer: nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{InboundLeader, StoreResultFuture};
use crate::base::supervise::Supervisor;
use crate::storage::{InboundAnswerRecord, Store};

/// Answers waiting to be written; further ones are not kept, which the log says.
const MAX_PENDING_WRITES: usize = 1_024;
/// How long the store may take, for the request first and then for its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(70);

pub(super) struct InboundAnswerWriter {
    store: Arc<dyn Store>,
    supervisor: Supervisor,
    permits: Arc<Semaphore>,
}

impl InboundAnswerWriter {
    pub(super) fn new(store: Arc<dyn Store>, supervisor: Supervisor) -> Self {
        Self { store, supervisor, permits: Arc::new(Semaphore::new(MAX_PENDING_WRITES)) }
    }

    /// `request` says when the request itself is on disk, and as which event. Requests that come again meanwhile find the
    /// answer by `seat`.
    pub(super) fn spawn_write(
        &self,
        answered: InboundAnswerRecord,
        request: StoreResultFuture,
        seat: Option<InboundLeader>,
    ) {
        let event_id = answered.event_id;
        let Ok(place) = Arc::clone(&self.permits).try_acquire_owned() else {
            tracing::warn!(%event_id, "an inbound answer is not kept in the ledger: too many wait for the store");
            return;
        };
        let store = Arc::clone(&self.store);
        // Tasks that share a commit; what is under way when the service stops is waited for.
        self.supervisor.spawn_detached(async move {
            let keeping = async {
                // Who keeps the request says by itself when it cannot be kept.
                let (event_id, _) = request.await?;
                Some(store.insert_inbound_answer(InboundAnswerRecord { event_id, ..answered }).await)
            };
            match tokio::time::timeout(WRITE_TIMEOUT, keeping).await {
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
