//! Group commit. One thread owns the writing connection; whatever waits when it is free shares one transaction and
//! one fsync, and a lone request is committed at once.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::bodies::BodyFileWriter;
use super::identity_filter::IdentityFilter;
use super::recent_keys::RecentKeys;
use super::write_queue::{QueuedWrite, WritePriority, WriteQueue};
use crate::base::histogram::Histogram;
use crate::base::supervise::Supervisor;
use crate::storage::{IdentityKey, StoreError, StoreStats};

/// Requests waiting for the writer; further ones wait to be let in (and are bounded by the bytes in flight).
const QUEUE_CAPACITY: usize = 1024;
/// How long closing waits for what was accepted.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// For telling how many events share a commit.
const EVENTS_PER_COMMIT_BUCKETS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// What the writing thread owns.
pub(super) struct WriterContext {
    pub(super) conn: Connection,
    pub(super) recent_keys: RecentKeys,
    pub(super) identity_filter: IdentityFilter,
    pub(super) bodies: BodyFileWriter,
    /// Whether the latest transaction was begun: if not, the store itself is away.
    pub(super) transaction_begun: bool,
    /// Events the latest transaction has added.
    pub(super) appended_events: usize,
}

/// What others may know about the writer without asking it.
pub(super) struct WriterStatus {
    /// Keys not indexed on disk yet, two an event.
    pub(super) unindexed_keys: AtomicUsize,
    /// Commits made so far: unchanged between two looks means idle.
    pub(super) transactions: AtomicI64,
    /// The log has grown: finish the checkpoint between two transactions.
    pub(super) checkpoint_requested: AtomicBool,
    /// The latest transaction failed.
    unavailable: AtomicBool,
    /// Those of `commits` that succeeded.
    successful_commits: AtomicU64,
    events_per_commit: Histogram,
}

impl Default for WriterStatus {
    fn default() -> Self {
        Self {
            unindexed_keys: AtomicUsize::default(),
            transactions: AtomicI64::default(),
            checkpoint_requested: AtomicBool::default(),
            unavailable: AtomicBool::default(),
            successful_commits: AtomicU64::default(),
            events_per_commit: Histogram::new(&EVENTS_PER_COMMIT_BUCKETS),
        }
    }
}

impl WriterStatus {
    /// What is known without asking the database.
    pub(super) fn stats(&self) -> StoreStats {
        StoreStats {
            commits: self.successful_commits.load(Ordering::Relaxed),
            events_per_commit: self.events_per_commit.counts(),
            unindexed_keys: self.unindexed_keys.load(Ordering::Relaxed) as u64,
            ..StoreStats::default()
        }
    }

    fn record_transaction(&self, committed: &Result<(), StoreError>, appended: usize) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        if committed.is_ok() {
            self.successful_commits.fetch_add(1, Ordering::Relaxed);
            if appended > 0 {
                self.events_per_commit.record(appended as u64);
            }
        }
    }

    /// Says it once when the store goes away, and once when it is back.
    fn log_availability_change(&self, failure: Option<&StoreError>) {
        let was_away = self.unavailable.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !was_away => {
                tracing::error!(%error, "the store cannot be written; events are answered 503 until it can");
            }
            None if was_away => tracing::info!("the store can be written again"),
            _ => {}
        }
    }
}

/// `None` once closed.
type WriteJobSender = Arc<Mutex<Option<mpsc::Sender<QueuedWrite<Box<dyn WriteJob>>>>>>;

/// A handle to the writing thread.
#[derive(Clone)]
pub(super) struct StoreWriter {
    jobs: WriteJobSender,
    thread_done: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
    pub(super) status: Arc<WriterStatus>,
    pub(super) identity_key: IdentityKey,
}

impl StoreWriter {
    /// Starts the thread. `lock` is released when it ends.
    pub(super) fn start(
        state: WriterContext,
        identity_key: IdentityKey,
        lock: super::open::StoreLock,
        supervisor: &Supervisor,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE_CAPACITY);
        let (done_tx, done) = oneshot::channel();
        let shared = Arc::new(WriterStatus::default());
        let for_thread = Arc::clone(&shared);
        supervisor
            .spawn_thread("store-writer", move || {
                run_writer(state, queue, &for_thread);
                drop(lock);
                let _ = done_tx.send(());
            })
            .map_err(|error| StoreError::Unusable(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            jobs: Arc::new(Mutex::new(Some(jobs))),
            thread_done: Arc::new(Mutex::new(Some(done))),
            status: shared,
            identity_key,
        })
    }

    /// Runs `work` inside the next transaction; its answer comes after the commit. When that transaction fails `work` is
    /// run once more in one of its own, so it must not use anything up.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriterContext) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_with_priority(WritePriority::Ingest, work).await
    }

    /// The same for what somebody on the line waits for: it gets into the transaction under way.
    pub(super) async fn write_live<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriterContext) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_with_priority(WritePriority::Live, work).await
    }

    /// The same for work that has time: it lets requests go first that somebody waits for. `rows`: about how many it
    /// changes.
    pub(super) async fn write_background<T, F>(&self, rows: usize, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriterContext) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_with_priority(WritePriority::Background(rows), work).await
    }

    pub(super) async fn write_with_priority<T, F>(&self, waits: WritePriority, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriterContext) -> Result<T, StoreError> + Send + 'static,
    {
        let closed = || StoreError::Unavailable("it is closed".into());
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        jobs.send(QueuedWrite { priority: waits, job: Box::new(WriteClosure { work, outcome: None, reply }) })
            .await
            .map_err(|_| closed())?;
        drop(jobs);
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Commits what waits, ends the thread and closes the file.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let done = self.thread_done.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(done) = done else {
            return Ok(());
        };
        match tokio::time::timeout(CLOSE_TIMEOUT, done).await {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::Unavailable("it did not finish writing within 5 s".into())),
        }
    }
}

/// One request's part of a transaction.
trait WriteJob: Send {
    fn run(&mut self, state: &mut WriterContext);
    /// What kept the store from doing it, if it was the store.
    fn unavailable_error(&self) -> Option<&StoreError>;
    fn complete(self: Box<Self>, committed: &Result<(), StoreError>);
}

struct WriteClosure<T, F> {
    work: F,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&mut WriterContext) -> Result<T, StoreError> + Send> WriteJob for WriteClosure<T, F> {
    fn run(&mut self, state: &mut WriterContext) {
        self.outcome = Some((self.work)(state));
    }

    fn unavailable_error(&self) -> Option<&StoreError> {
        match &self.outcome {
            Some(Err(error @ StoreError::Unavailable(_))) => Some(error),
            _ => None,
        }
    }

    fn complete(self: Box<Self>, committed: &Result<(), StoreError>) {
        let outcome = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Err(error), _) => Err(error.clone()),
            (Ok(()), None) => Err(StoreError::Unavailable("it was not tried".into())),
        };
        // Whoever asked may have gone: its event is kept all the same, and a resent one is a duplicate.
        let _ = self.reply.send(outcome);
    }
}

fn run_writer(
    mut state: WriterContext,
    mut queue: mpsc::Receiver<QueuedWrite<Box<dyn WriteJob>>>,
    shared: &WriterStatus,
) {
    let mut turns = WriteQueue::default();
    loop {
        if turns.len() == 0 {
            match queue.blocking_recv() {
                Some(asked) => turns.push(asked),
                None => break,
            }
        }
        receive_queued(&mut turns, &mut queue);
        turns.begin_transaction();
        let mut batch = Vec::new();
        let committed = run_transaction(&mut state, &mut batch, || {
            receive_queued(&mut turns, &mut queue);
            turns.pop()
        });
        if committed.is_err() && state.transaction_begun && batch.len() > 1 {
            // One request that asks too much of a full disk takes the transaction with it: the others need not fail.
            for job in batch {
                commit_alone(&mut state, job, shared);
            }
        } else {
            complete_batch(&mut state, batch, &committed, shared);
        }
        if shared.checkpoint_requested.swap(false, Ordering::Relaxed) {
            super::checkpoint::finish_checkpoint(&state.conn);
        }
    }
    // Closed: leave nothing in the log that is not in the database file.
    super::checkpoint::finish_checkpoint(&state.conn);
}

fn receive_queued(
    turns: &mut WriteQueue<Box<dyn WriteJob>>,
    queue: &mut mpsc::Receiver<QueuedWrite<Box<dyn WriteJob>>>,
) {
    while turns.len() < QUEUE_CAPACITY
        && let Ok(asked) = queue.try_recv()
    {
        turns.push(asked);
    }
}

fn commit_alone(state: &mut WriterContext, job: Box<dyn WriteJob>, shared: &WriterStatus) {
    let (mut job, mut alone) = (Some(job), Vec::new());
    let committed = run_transaction(state, &mut alone, || job.take());
    complete_batch(state, alone, &committed, shared);
}

fn complete_batch(
    state: &mut WriterContext,
    batch: Vec<Box<dyn WriteJob>>,
    committed: &Result<(), StoreError>,
    shared: &WriterStatus,
) {
    shared.log_availability_change(
        committed.as_ref().err().or_else(|| batch.iter().find_map(|job| job.unavailable_error())),
    );
    shared.unindexed_keys.store(state.recent_keys.len(), Ordering::Relaxed);
    shared.record_transaction(committed, state.appended_events);
    for job in batch {
        job.complete(committed);
    }
}

/// Runs what `next` gives, into `batch`, in one transaction.
fn run_transaction(
    state: &mut WriterContext,
    batch: &mut Vec<Box<dyn WriteJob>>,
    mut next: impl FnMut() -> Option<Box<dyn WriteJob>>,
) -> Result<(), StoreError> {
    state.recent_keys.mark_committed();
    let committed = try_transaction(state, batch, &mut next);
    if committed.is_ok() {
        state.bodies.commit();
        return committed;
    }
    if !state.transaction_begun {
        // The store is away: those whose turn it was are told so.
        batch.extend(std::iter::from_fn(next));
    }
    if !state.conn.is_autocommit() {
        // Failing here means SQLite has rolled back by itself.
        let _ = state.conn.execute_batch("ROLLBACK");
    }
    state.recent_keys.roll_back();
    state.bodies.roll_back();
    committed
}

fn try_transaction(
    state: &mut WriterContext,
    batch: &mut Vec<Box<dyn WriteJob>>,
    next: &mut impl FnMut() -> Option<Box<dyn WriteJob>>,
) -> Result<(), StoreError> {
    (state.transaction_begun, state.appended_events) = (false, 0);
    state.bodies.rotate_if_full()?;
    execute(&state.conn, "BEGIN IMMEDIATE")?;
    state.transaction_begun = true;
    while let Some(mut job) = next() {
        job.run(state);
        batch.push(job);
        if state.conn.is_autocommit() {
            return Err(StoreError::Unavailable("SQLite gave up the transaction (disk full or an I/O error)".into()));
        }
    }
    state.bodies.write_staged()?;
    let committed = state.conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    if let Err(error) = &committed
        && error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
    {
        state.bodies.assume_committed();
    }
    committed?;
    Ok(())
}

fn execute(conn: &Connection, sql: &str) -> Result<(), StoreError> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}
