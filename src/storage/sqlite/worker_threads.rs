//! Threads that each own a value, such as a connection, and run jobs on it. A connection cannot be used by two
//! threads at once, and a query blocks its thread, so neither belongs on the async runtime.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

/// Jobs that wait for a free thread. Callers of further ones wait for room.
const QUEUE_CAPACITY: usize = 64;

type ThreadJob<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A handle to the threads. They end when its last clone is dropped, after the jobs that wait.
pub(super) struct WorkerThreads<T>(Arc<Handle<T>>);

impl<T> Clone for WorkerThreads<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> WorkerThreads<T> {
    /// Starts one thread per value in `values`.
    pub(super) fn start(
        name: &'static str,
        values: impl IntoIterator<Item = T>,
        supervisor: &Supervisor,
    ) -> Result<Self, StoreError> {
        let handle = Handle { queue: Arc::new(JobQueue::default()), room: Arc::new(Semaphore::new(QUEUE_CAPACITY)) };
        for mut value in values {
            let queue = Arc::clone(&handle.queue);
            supervisor
                .spawn_thread(name, move || {
                    while let Some(job) = queue.next() {
                        job(&mut value);
                    }
                })
                .map_err(|error| StoreError::unusable(format!("cannot start the thread {name}: {error}")))?;
        }
        Ok(Self(Arc::new(handle)))
    }

    /// Runs `work` on a free thread.
    pub(super) async fn run<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&mut T) -> Result<R, StoreError> + Send + 'static,
    {
        let closed = || StoreError::unavailable("the store is closed");
        let room = Arc::clone(&self.0.room).acquire_owned().await.map_err(|_| closed())?;
        let (reply, result) = oneshot::channel();
        // The caller may have given up meanwhile; the result is dropped then.
        self.0.queue.push(Box::new(move |value| {
            drop(room);
            drop(reply.send(work(value)));
        }));
        result.await.map_err(|_| closed())?
    }
}

struct Handle<T> {
    queue: Arc<JobQueue<T>>,
    room: Arc<Semaphore>,
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.changed.notify_all();
    }
}

struct JobQueue<T> {
    state: Mutex<QueueState<T>>,
    changed: Condvar,
}

struct QueueState<T> {
    jobs: VecDeque<ThreadJob<T>>,
    is_closed: bool,
}

impl<T> Default for JobQueue<T> {
    fn default() -> Self {
        let state = QueueState { jobs: VecDeque::new(), is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl<T> JobQueue<T> {
    fn push(&self, job: ThreadJob<T>) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Waits for a job; `None` after the last one.
    fn next(&self) -> Option<ThreadJob<T>> {
        let waits = |state: &mut QueueState<T>| state.jobs.is_empty() && !state.is_closed;
        let state = self.changed.wait_while(self.lock(), waits);
        state.unwrap_or_else(PoisonError::into_inner).jobs.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
