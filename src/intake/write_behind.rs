//! Keeps requests somebody on the line waits behind, while their answer is made, and after it where the store is slow or
//! away.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::base::id::EventId;
use crate::base::supervise::Supervisor;
use crate::storage::{AppendOutcome, NewEvent, Store, StoreError};

/// Requests on their way to the disk; further ones are answered and not kept, which the log says.
const MAX_PENDING_WRITES: usize = 1_024;
/// How long the store may take until a request is given up on.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long until a store that was away is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Where a request stands on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PendingWriteState {
    Pending,
    /// The store said that it is away; it is tried again.
    StoreUnavailable,
    Committed(AppendOutcome),
}

/// A request on its way to the disk.
#[derive(Clone, Debug)]
pub(crate) struct PendingWrite {
    event_id: EventId,
    state: watch::Receiver<PendingWriteState>,
}

impl PendingWrite {
    /// The event as which it is kept, and whether it was on disk before; `None` as soon as the store says that it is away.
    pub(crate) async fn first_store_result(mut self) -> Option<(EventId, bool)> {
        let kept = self.state.wait_for(|keeping| *keeping != PendingWriteState::Pending).await.ok()?;
        committed_event(self.event_id, *kept)
    }

    /// The same once the store has it after all; `None` when it could not be kept.
    pub(crate) async fn final_store_result(mut self) -> Option<(EventId, bool)> {
        let kept = self.state.wait_for(|keeping| matches!(keeping, PendingWriteState::Committed(_))).await.ok()?;
        committed_event(self.event_id, *kept)
    }

    /// How it stands now, as the log and the metrics name it.
    pub(super) fn outcome(&self) -> &'static str {
        match &*self.state.borrow() {
            PendingWriteState::Committed(appended) => super::outcome_label(appended),
            PendingWriteState::Pending | PendingWriteState::StoreUnavailable => "not_stored",
        }
    }
}

fn committed_event(id: EventId, keeping: PendingWriteState) -> Option<(EventId, bool)> {
    match keeping {
        PendingWriteState::Committed(AppendOutcome::Duplicate { original_id: of }) => Some((of, true)),
        PendingWriteState::Committed(AppendOutcome::Stored { .. }) => Some((id, false)),
        PendingWriteState::Pending | PendingWriteState::StoreUnavailable => None,
    }
}

pub(super) struct WriteBehind {
    store: Arc<dyn Store>,
    supervisor: Supervisor,
    permits: Arc<Semaphore>,
}

impl WriteBehind {
    pub(super) fn new(store: Arc<dyn Store>, supervisor: Supervisor) -> Self {
        Self { store, supervisor, permits: Arc::new(Semaphore::new(MAX_PENDING_WRITES)) }
    }

    /// Begins to keep it, whoever waits for that.
    pub(super) fn append(&self, event: NewEvent) -> PendingWrite {
        let (told, keeping) = watch::channel(PendingWriteState::Pending);
        let kept = PendingWrite { event_id: event.id, state: keeping };
        let Ok(place) = Arc::clone(&self.permits).try_acquire_owned() else {
            tracing::warn!(event_id = %event.id, "an inbound request is not kept: too many wait for the store");
            return kept;
        };
        let store = Arc::clone(&self.store);
        self.supervisor.spawn_detached(async move {
            append_with_retry(&*store, event, &told).await;
            drop(place);
        });
        kept
    }
}

async fn append_with_retry(store: &dyn Store, event: NewEvent, told: &watch::Sender<PendingWriteState>) {
    let id = event.id;
    let kept = async {
        loop {
            match store.append(event.clone()).await {
                Err(StoreError::Unavailable(_)) => {
                    told.send_replace(PendingWriteState::StoreUnavailable);
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                kept => return kept,
            }
        }
    };
    match tokio::time::timeout(WRITE_TIMEOUT, kept).await {
        Ok(Ok(appended)) => drop(told.send_replace(PendingWriteState::Committed(appended))),
        Ok(Err(error)) => tracing::error!(event_id = %id, %error, "an inbound request is not kept"),
        Err(_) => tracing::error!(event_id = %id, "an inbound request is not kept: the store did not take it in 60 s"),
    }
}
