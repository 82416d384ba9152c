//! A few threads with connections that can only read. In WAL mode they neither wait for the writer nor hold it up.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::bodies::BodyFiles;
use super::{SqliteUrl, open};
use crate::base::supervise::Supervisor;
use crate::storage::{IdentityKey, StoreError};

/// Reads waiting for a thread; further ones wait to be let in.
const QUEUE: usize = 64;

type ReadJob = Box<dyn FnOnce(&Reader) + Send>;

/// What a reading thread owns.
pub(super) struct Reader {
    pub(super) conn: Connection,
    pub(super) bodies: BodyFiles,
    pub(super) identity_key: IdentityKey,
}

/// A handle to the reading threads, which end when it is dropped.
pub(super) struct Readers(mpsc::Sender<ReadJob>);

impl Readers {
    pub(super) fn start(url: &SqliteUrl, threads: usize, supervisor: &Supervisor) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<ReadJob>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let conn = open::reader(url)?;
            let identity_key = open::identity_key(&conn)?;
            let reader = Reader { conn, bodies: BodyFiles::new(url), identity_key };
            let queue = Arc::clone(&queue);
            supervisor
                .spawn_thread("store-reader", move || {
                    while let Some(job) = next(&queue) {
                        job(&reader);
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
        F: FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: ReadJob = Box::new(move |reader| drop(reply.send(work(reader))));
        let closed = || StoreError::Unavailable("it is closed".into());
        self.0.send(job).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn next(queue: &Mutex<mpsc::Receiver<ReadJob>>) -> Option<ReadJob> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}
