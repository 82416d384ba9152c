//! Keeps requests somebody on the line waits behind: their answer does not wait for a store that is slow or away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use crate::base::id::EventId;
use crate::base::supervise::Supervisor;
use crate::storage::{Appended, NewEvent, Store, StoreError};

/// Requests on their way to the disk; further ones are answered and not kept, which the log says.
const ROOM: usize = 1_024;
/// How long the store may take until a request is given up on.
const KEEPING: Duration = Duration::from_secs(8);
/// How long until a store that was away is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// A commit gets so long even if the request has used up its time before, by a body that came slowly.
const LEAST: Duration = Duration::from_millis(100);

/// Where a request stands on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    Waiting,
    /// The store said that it is away; it is tried again.
    Away,
    Kept(Appended),
}

/// A request that was not on disk when its answer was due.
#[derive(Clone, Debug)]
pub struct Later {
    id: EventId,
    keeping: watch::Receiver<Keeping>,
}

impl Later {
    /// The event as which it is kept after all; `None` when it could not be.
    pub async fn kept(mut self) -> Option<EventId> {
        let kept = self.keeping.wait_for(|keeping| matches!(keeping, Keeping::Kept(_))).await.ok()?;
        match *kept {
            Keeping::Kept(Appended::Duplicate { of }) => Some(of),
            _ => Some(self.id),
        }
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

    /// Waits until then, or until the store says that it is away; the event is kept all the same when it can be.
    pub(super) async fn append(&self, event: NewEvent, until: Instant) -> Result<Appended, Later> {
        let (told, mut keeping) = watch::channel(Keeping::Waiting);
        let later = Later { id: event.id, keeping: keeping.clone() };
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::warn!(event_id = %event.id, "an inbound request is not kept: too many wait for the store");
            return Err(later);
        };
        let store = Arc::clone(&self.store);
        self.supervisor.spawn_detached(async move {
            keep(&*store, event, &told).await;
            drop(place);
        });
        let until = tokio::time::Instant::from_std(until.max(Instant::now() + LEAST));
        let said = tokio::time::timeout_at(until, keeping.wait_for(|keeping| *keeping != Keeping::Waiting)).await;
        match said.map(|said| said.map(|keeping| *keeping)) {
            Ok(Ok(Keeping::Kept(appended))) => Ok(appended),
            _ => Err(later),
        }
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
        Err(_) => tracing::error!(event_id = %id, "an inbound request is not kept: the store did not take it in 8 s"),
    }
}
