//! Stores inbound answers in the background, after they were sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::InboundLeader;
use crate::base::id::EventId;
use crate::base::supervise::Supervisor;
use crate::intake::PendingWrite;
use crate::storage::{InboundAnswerRecord, InboundAnswerStore};

/// Answers that may wait to be written. It bounds memory while the store is unavailable; further answers are logged
/// and dropped.
const MAX_PENDING_WRITES: usize = 1_024;
/// Limit for storing the request and then its answer. The intake tries to store the request for 60 s; 10 s are left
/// for the answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(70);

pub(super) struct InboundAnswerWriter {
    store: Arc<dyn InboundAnswerStore>,
    supervisor: Supervisor,
    permits: Arc<Semaphore>,
}

impl InboundAnswerWriter {
    pub(super) fn new(store: Arc<dyn InboundAnswerStore>, supervisor: Supervisor) -> Self {
        Self { store, supervisor, permits: Arc::new(Semaphore::new(MAX_PENDING_WRITES)) }
    }

    /// Stores `record` once the request is on disk: the row refers to the event, whose id is known only then. Requests
    /// that are repeated in the meantime get the answer from `leader`, which is released afterwards.
    pub(super) fn spawn_write(
        &self,
        record: InboundAnswerRecord,
        request_write: PendingWrite,
        leader: Option<InboundLeader>,
    ) {
        let answered_event_id = record.event_id;
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            log_not_stored(
                answered_event_id,
                &format_args!("more than {MAX_PENDING_WRITES} answers wait for the store"),
            );
            return;
        };
        let store = Arc::clone(&self.store);
        // One task per answer, so that writes share a group commit. The supervisor waits for them at shutdown.
        self.supervisor.spawn_detached(async move {
            let write = async {
                // `None`: the request could not be stored, which the intake has logged.
                let (event_id, _) = request_write.final_store_result().await?;
                Some(store.insert_inbound_answer(InboundAnswerRecord { event_id, ..record }).await)
            };
            match tokio::time::timeout(WRITE_TIMEOUT, write).await {
                Ok(Some(Ok(())) | None) => {}
                Ok(Some(Err(error))) => log_not_stored(answered_event_id, &error),
                Err(_) => log_not_stored(
                    answered_event_id,
                    &format_args!("the store did not finish within {} s", WRITE_TIMEOUT.as_secs()),
                ),
            }
            drop((permit, leader));
        });
    }
}

fn log_not_stored(event_id: EventId, error: &dyn std::fmt::Display) {
    tracing::warn!(%event_id, %error, "inbound answer not stored");
}
