//! Stores inbound requests while their answers are being made, and afterwards when the store is slow or unavailable.
//!
//! The caller waits for the answer, so the write must not delay it, and it must not end with the HTTP request either:
//! Retell has its answer and will not send the event again. The write is therefore a separate task, and the answer
//! looks at its state through a watch channel.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::base::id::EventId;
use crate::base::supervise::Supervisor;
use crate::storage::{AppendOutcome, Journal, NewEvent};
use crate::telemetry::requests::IntakeOutcome;

/// Writes that are pending at the same time. Each holds a body in memory. Further requests are answered and not
/// stored, which is logged.
const MAX_PENDING_WRITES: usize = 1_024;
/// How long a write is tried before the event is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to wait before a write is tried again after the store was unavailable.
const RETRY_DELAY: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PendingWriteState {
    Pending,
    /// The store was unavailable at least once. The write is tried again.
    StoreUnavailable,
    Committed(AppendOutcome),
}

/// The write of an inbound request, which may still be running. Clones observe the same write.
#[derive(Clone, Debug)]
pub(crate) struct PendingWrite {
    event_id: EventId,
    state: watch::Receiver<PendingWriteState>,
}

impl PendingWrite {
    /// Waits for the first response of the store. Returns the id under which the event is stored, and whether it was
    /// stored before; `None` when the store is unavailable, so that an answer does not wait for the retries.
    pub(crate) async fn first_store_result(&self) -> Option<(EventId, bool)> {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| *state != PendingWriteState::Pending).await.ok()?;
        committed_event(self.event_id, *state)
    }

    /// Waits for the end of the write, retries included. `None` when the event could not be stored.
    pub(crate) async fn final_store_result(&self) -> Option<(EventId, bool)> {
        // The sender is dropped when the write is given up, which ends this wait with an error.
        let mut state = self.state.clone();
        let state = state.wait_for(|state| matches!(state, PendingWriteState::Committed(_))).await.ok()?;
        committed_event(self.event_id, *state)
    }

    /// The outcome at this moment, for the log and the metrics. The request is logged when it is answered, so a write
    /// that is still pending counts as `not_stored`.
    pub(super) fn outcome(&self) -> IntakeOutcome {
        match &*self.state.borrow() {
            PendingWriteState::Committed(appended) => super::intake_outcome(appended),
            PendingWriteState::Pending | PendingWriteState::StoreUnavailable => IntakeOutcome::NotStored,
        }
    }
}

fn committed_event(new_id: EventId, state: PendingWriteState) -> Option<(EventId, bool)> {
    match state {
        PendingWriteState::Committed(AppendOutcome::Duplicate { original_id }) => Some((original_id, true)),
        PendingWriteState::Committed(AppendOutcome::Stored { .. }) => Some((new_id, false)),
        PendingWriteState::Pending | PendingWriteState::StoreUnavailable => None,
    }
}

/// Starts writes that no request has to wait for.
pub(super) struct WriteBehind {
    journal: Arc<dyn Journal>,
    supervisor: Supervisor,
    permits: Arc<Semaphore>,
}

impl WriteBehind {
    pub(super) fn new(journal: Arc<dyn Journal>, supervisor: Supervisor) -> Self {
        Self { journal, supervisor, permits: Arc::new(Semaphore::new(MAX_PENDING_WRITES)) }
    }

    /// Starts to store the event. The write continues when the returned handle is dropped.
    pub(super) fn append(&self, event: NewEvent) -> PendingWrite {
        let (state_sender, state) = watch::channel(PendingWriteState::Pending);
        let pending_write = PendingWrite { event_id: event.id, state };
        // Does not wait for a permit: the answer would be late. Dropping the sender tells the answer that nothing is
        // stored.
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let error = format!("{MAX_PENDING_WRITES} inbound requests are waiting for the store");
            tracing::warn!(event_id = %event.id, %error, "inbound request not stored");
            return pending_write;
        };
        let journal = Arc::clone(&self.journal);
        self.supervisor.spawn_detached(async move {
            append_with_retry(&*journal, event, &state_sender).await;
            drop(permit);
        });
        pending_write
    }
}

async fn append_with_retry(journal: &dyn Journal, event: NewEvent, state_sender: &watch::Sender<PendingWriteState>) {
    let event_id = event.id;
    let append = async {
        loop {
            match journal.append(event.clone()).await {
                // Safe to repeat: if the first write was committed after all, the second one is a duplicate of it.
                Err(error) if error.is_retryable() => {
                    state_sender.send_replace(PendingWriteState::StoreUnavailable);
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                finished => return finished,
            }
        }
    };
    let error = match tokio::time::timeout(WRITE_TIMEOUT, append).await {
        Ok(Ok(appended)) => {
            state_sender.send_replace(PendingWriteState::Committed(appended));
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no commit within {} s", WRITE_TIMEOUT.as_secs()),
    };
    tracing::error!(%event_id, %error, "inbound request not stored");
}
