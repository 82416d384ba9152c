//! Threads that own something SQLite does not share, such as a connection, and run what is asked of them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

/// Requests waiting for a thread; further ones wait to be let in.
const QUEUE_CAPACITY: usize = 64;

type ThreadJob<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A handle to the threads, which end when it is dropped.
pub(super) struct WorkerThreads<T>(mpsc::Sender<ThreadJob<T>>);

impl<T: Send + 'static> WorkerThreads<T> {
    /// One for each owner.
    pub(super) fn start(
        name: &'static str,
        owners: impl IntoIterator<Item = T>,
        supervisor: &Supervisor,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<ThreadJob<T>>(QUEUE_CAPACITY);
        let queue = Arc::new(Mutex::new(queue));
        for mut owner in owners {
            let queue = Arc::clone(&queue);
            supervisor
                .spawn_thread(name, move || {
                    while let Some(job) = next_job(&queue) {
                        job(&mut owner);
                    }
                })
                .map_err(|error| StoreError::Unusable(format!("cannot start a thread: {error}")))?;
        }
        Ok(Self(jobs))
    }

    /// Runs `work` on a free one.
    pub(super) async fn run<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&mut T) -> Result<R, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: ThreadJob<T> = Box::new(move |owner| drop(reply.send(work(owner))));
        let closed = || StoreError::Unavailable("it is closed".into());
        self.0.send(job).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn next_job<T>(queue: &Mutex<mpsc::Receiver<ThreadJob<T>>>) -> Option<ThreadJob<T>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}
