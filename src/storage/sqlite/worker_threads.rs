//! Threads that each own a value, such as a connection, and run jobs on it. A connection cannot be used by two
//! threads at once, and a query blocks its thread, so neither belongs on the async runtime.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

/// Jobs that wait for a free thread. Callers of further ones wait for room.
const QUEUE_CAPACITY: usize = 64;

type ThreadJob<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A handle to the threads. They end when its last clone is dropped, after the jobs that wait.
pub(super) struct WorkerThreads<T>(mpsc::Sender<ThreadJob<T>>);

impl<T> Clone for WorkerThreads<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static> WorkerThreads<T> {
    /// Starts one thread per value in `values`.
    pub(super) fn start(
        name: &'static str,
        values: impl IntoIterator<Item = T>,
        supervisor: &Supervisor,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<ThreadJob<T>>(QUEUE_CAPACITY);
        let queue = Arc::new(Mutex::new(queue));
        for mut value in values {
            let queue = Arc::clone(&queue);
            supervisor
                .spawn_thread(name, move || {
                    while let Some(job) = next_job(&queue) {
                        job(&mut value);
                    }
                })
                .map_err(|error| StoreError::unusable(format!("cannot start the thread {name}: {error}")))?;
        }
        Ok(Self(jobs))
    }

    /// Runs `work` on a free thread.
    pub(super) async fn run<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&mut T) -> Result<R, StoreError> + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        // The caller may have given up meanwhile; the result is dropped then.
        let job: ThreadJob<T> = Box::new(move |value| drop(reply.send(work(value))));
        let closed = || StoreError::unavailable("the store is closed");
        self.0.send(job).await.map_err(|_| closed())?;
        result.await.map_err(|_| closed())?
    }
}

fn next_job<T>(queue: &Mutex<mpsc::Receiver<ThreadJob<T>>>) -> Option<ThreadJob<T>> {
    // An idle thread holds the lock while it waits for a job, and the other idle threads wait for the lock: each job
    // still wakes exactly one thread. The lock is released before the job runs.
    queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}

/// Wakes a thread that waits for work or for its next turn.
#[derive(Debug, Default)]
pub(super) struct ThreadWaker(OnceLock<Thread>);

impl ThreadWaker {
    /// Ends the current or the next wait of the thread. Without effect before its first wait.
    pub(super) fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }

    /// Waits until it is woken, but not longer than `limit`. Called by one thread only.
    pub(super) fn wait(&self, limit: Duration) {
        self.0.get_or_init(thread::current);
        thread::park_timeout(limit);
    }
}
