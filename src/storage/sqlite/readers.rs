//! A few threads with connections that can only read. In WAL mode they neither wait for the writer nor hold it up.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{SqliteUrl, open};
use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

const THREADS: usize = 2;
/// Reads waiting for a thread; further ones wait to be let in.
const QUEUE: usize = 64;

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// A handle to the reading threads, which end when it is dropped.
pub(super) struct Readers(mpsc::Sender<ReadJob>);

impl Readers {
    pub(super) fn start(url: &SqliteUrl, supervisor: &Supervisor) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<ReadJob>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let (conn, queue) = (open::reader(url)?, Arc::clone(&queue));
            supervisor
                .spawn_thread("store-reader", move || {
                    while let Some(job) = next(&queue) {
                        job(&conn);
                    }
                })
                .map_err(|error| StoreError::Unusable(format!("cannot start a thread: {error}")))?;
        }
        Ok(Self(jobs))
    }

    /// Runs `work` on a free thread.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: ReadJob = Box::new(move |conn| drop(reply.send(work(conn))));
        let closed = || StoreError::Unavailable("it is closed".into());
        self.0.send(job).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn next(queue: &Mutex<mpsc::Receiver<ReadJob>>) -> Option<ReadJob> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}
