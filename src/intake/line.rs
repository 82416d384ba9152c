//! Keeps requests somebody on the line waits behind, while their answer is made, and after it where the store is slow or
//! away.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::base::id::EventId;
use crate::base::supervise::Supervisor;
use crate::storage::{Appended, NewEvent, Store, StoreError};

/// Requests on their way to the disk; further ones are answered and not kept, which the log says.
const ROOM: usize = 1_024;
/// How long the store may take until a request is given up on.
const KEEPING: Duration = Duration::from_secs(60);
/// How long until a store that was away is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Where a request stands on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    Waiting,
    /// The store said that it is away; it is tried again.
    Away,
    Kept(Appended),
}

/// A request on its way to the disk.
#[derive(Clone, Debug)]
pub struct Kept {
    id: EventId,
    keeping: watch::Receiver<Keeping>,
}

impl Kept {
    /// The event as which it is kept, and whether it was on disk before; `None` as soon as the store says that it is away.
    pub async fn soon(mut self) -> Option<(EventId, bool)> {
        let kept = self.keeping.wait_for(|keeping| *keeping != Keeping::Waiting).await.ok()?;
        as_event(self.id, *kept)
    }

    /// The same once the store has it after all; `None` when it could not be kept.
    pub async fn at_last(mut self) -> Option<(EventId, bool)> {
        let kept = self.keeping.wait_for(|keeping| matches!(keeping, Keeping::Kept(_))).await.ok()?;
        as_event(self.id, *kept)
    }

    /// How it stands now, as the log and the metrics name it.
    pub(super) fn outcome(&self) -> &'static str {
        match &*self.keeping.borrow() {
            Keeping::Kept(appended) => super::outcome(appended),
            Keeping::Waiting | Keeping::Away => "not_stored",
        }
    }
}

fn as_event(id: EventId, keeping: Keeping) -> Option<(EventId, bool)> {
    match keeping {
        Keeping::Kept(Appended::Duplicate { of }) => Some((of, true)),
        Keeping::Kept(Appended::Stored { .. }) => Some((id, false)),
        Keeping::Waiting | Keeping::Away => None,
    }
}

pub(super) struct Line {
    store: Arc<dyn Store>,
    supervisor: Supervisor,
    room: Arc<Semaphore>,
}

impl Line {
    pub(super) fn new(store: Arc<dyn Store>, supervisor: Supervisor) -> Self {
        Self { store, supervisor, room: Arc::new(Semaphore::new(ROOM)) }
    }

    /// Begins to keep it, whoever waits for that.
    pub(super) fn keep(&self, event: NewEvent) -> Kept {
        let (told, keeping) = watch::channel(Keeping::Waiting);
        let kept = Kept { id: event.id, keeping };
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::warn!(event_id = %event.id, "an inbound request is not kept: too many wait for the store");
            return kept;
        };
        let store = Arc::clone(&self.store);
        self.supervisor.spawn_detached(async move {
            keep(&*store, event, &told).await;
            drop(place);
        });
        kept
    }
}

async fn keep(store: &dyn Store, event: NewEvent, told: &watch::Sender<Keeping>) {
    let id = event.id;
    let kept = async {
        loop {
            match store.append(event.clone()).await {
                Err(StoreError::Unavailable(_)) => {
                    told.send_replace(Keeping::Away);
                    tokio::time::sleep(AGAIN).await;
                }
                kept => return kept,
            }
        }
    };
    match tokio::time::timeout(KEEPING, kept).await {
        Ok(Ok(appended)) => drop(told.send_replace(Keeping::Kept(appended))),
        Ok(Err(error)) => tracing::error!(event_id = %id, %error, "an inbound request is not kept"),
        Err(_) => tracing::error!(event_id = %id, "an inbound request is not kept: the store did not take it in 60 s"),
    }
}
