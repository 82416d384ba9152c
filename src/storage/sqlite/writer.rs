//! Group commit. One thread owns the writing connection; whatever waits when it is free shares one transaction and
//! one fsync, and a lone request is committed at once.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::bodies::BodyLog;
use super::filter::Filter;
use super::recent::Recent;
use super::turns::{Asked, Turns, Waits};
use crate::base::histogram::Histogram;
use crate::base::supervise::Supervisor;
use crate::storage::{IdentityKey, StoreError, StoreStats};

/// Requests waiting for the writer; further ones wait to be let in (and are bounded by the bytes in flight).
const QUEUE: usize = 1024;
/// How long closing waits for what was accepted.
const CLOSING: Duration = Duration::from_secs(5);
/// For telling how many events share a commit.
const SHARING: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// What the writing thread owns.
pub(super) struct WriteState {
    pub(super) conn: Connection,
    pub(super) recent: Recent,
    pub(super) filter: Filter,
    pub(super) bodies: BodyLog,
    /// Whether the latest transaction was begun: if not, the store itself is away.
    pub(super) began: bool,
    /// Events the latest transaction has added.
    pub(super) appended: usize,
}

/// What others may know about the writer without asking it.
pub(super) struct Shared {
    /// Keys not indexed on disk yet, two an event.
    pub(super) unindexed: AtomicUsize,
    /// Commits made so far: unchanged between two looks means idle.
    pub(super) commits: AtomicI64,
    /// The log has grown: finish the checkpoint between two transactions.
    pub(super) finish_checkpoint: AtomicBool,
    /// The latest transaction failed.
    away: AtomicBool,
    /// Those of `commits` that succeeded.
    succeeded: AtomicU64,
    events_per_commit: Histogram,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            unindexed: AtomicUsize::default(),
            commits: AtomicI64::default(),
            finish_checkpoint: AtomicBool::default(),
            away: AtomicBool::default(),
            succeeded: AtomicU64::default(),
            events_per_commit: Histogram::new(&SHARING),
        }
    }
}

impl Shared {
    /// What is known without asking the database.
    pub(super) fn stats(&self) -> StoreStats {
        StoreStats {
            commits: self.succeeded.load(Ordering::Relaxed),
            events_per_commit: self.events_per_commit.measured(),
            unindexed_keys: self.unindexed.load(Ordering::Relaxed) as u64,
            ..StoreStats::default()
        }
    }

    fn count(&self, committed: &Result<(), StoreError>, appended: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        if committed.is_ok() {
            self.succeeded.fetch_add(1, Ordering::Relaxed);
            if appended > 0 {
                self.events_per_commit.record(appended as u64);
            }
        }
    }

    /// Says it once when the store goes away, and once when it is back.
    fn note(&self, failure: Option<&StoreError>) {
        let was_away = self.away.swap(failure.is_some(), Ordering::Relaxed);
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
type Jobs = Arc<Mutex<Option<mpsc::Sender<Asked<Box<dyn Job>>>>>>;

/// A handle to the writing thread.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: Jobs,
    done: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
    pub(super) shared: Arc<Shared>,
    pub(super) identity_key: IdentityKey,
}

impl Writer {
    /// Starts the thread. `lock` is released when it ends.
    pub(super) fn start(
        state: WriteState,
        identity_key: IdentityKey,
        lock: super::open::StoreLock,
        supervisor: &Supervisor,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (done_tx, done) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        supervisor
            .spawn_thread("store-writer", move || {
                run(state, queue, &for_thread);
                drop(lock);
                let _ = done_tx.send(());
            })
            .map_err(|error| StoreError::Unusable(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            jobs: Arc::new(Mutex::new(Some(jobs))),
            done: Arc::new(Mutex::new(Some(done))),
            shared,
            identity_key,
        })
    }

    /// Runs `work` inside the next transaction; its answer comes after the commit. When that transaction fails `work` is
    /// run once more in one of its own, so it must not use anything up.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteState) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(Waits::Sender, work).await
    }

    /// The same for what somebody on the line waits for: it gets into the transaction under way.
    pub(super) async fn write_now<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteState) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(Waits::Caller, work).await
    }

    /// The same for work that has time: it lets requests go first that somebody waits for. `rows`: about how many it
    /// changes.
    pub(super) async fn write_behind<T, F>(&self, rows: usize, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteState) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(Waits::Nobody(rows), work).await
    }

    pub(super) async fn ask<T, F>(&self, waits: Waits, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriteState) -> Result<T, StoreError> + Send + 'static,
    {
        let closed = || StoreError::Unavailable("it is closed".into());
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        jobs.send(Asked { waits, job: Box::new(Write { work, outcome: None, reply }) }).await.map_err(|_| closed())?;
        drop(jobs);
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Commits what waits, ends the thread and closes the file.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(done) = done else {
            return Ok(());
        };
        match tokio::time::timeout(CLOSING, done).await {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::Unavailable("it did not finish writing within 5 s".into())),
        }
    }
}

/// One request's part of a transaction.
trait Job: Send {
    fn run(&mut self, state: &mut WriteState);
    /// What kept the store from doing it, if it was the store.
    fn failure(&self) -> Option<&StoreError>;
    fn finish(self: Box<Self>, committed: &Result<(), StoreError>);
}

struct Write<T, F> {
    work: F,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&mut WriteState) -> Result<T, StoreError> + Send> Job for Write<T, F> {
    fn run(&mut self, state: &mut WriteState) {
        self.outcome = Some((self.work)(state));
    }

    fn failure(&self) -> Option<&StoreError> {
        match &self.outcome {
            Some(Err(error @ StoreError::Unavailable(_))) => Some(error),
            _ => None,
        }
    }

    fn finish(self: Box<Self>, committed: &Result<(), StoreError>) {
        let outcome = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Err(error), _) => Err(error.clone()),
            (Ok(()), None) => Err(StoreError::Unavailable("it was not tried".into())),
        };
        // Whoever asked may have gone: its event is kept all the same, and a resent one is a duplicate.
        let _ = self.reply.send(outcome);
    }
}

fn run(mut state: WriteState, mut queue: mpsc::Receiver<Asked<Box<dyn Job>>>, shared: &Shared) {
    let mut turns = Turns::default();
    loop {
        if turns.len() == 0 {
            match queue.blocking_recv() {
                Some(asked) => turns.add(asked),
                None => break,
            }
        }
        take_in(&mut turns, &mut queue);
        turns.begin();
        let mut batch = Vec::new();
        let committed = transact(&mut state, &mut batch, || {
            take_in(&mut turns, &mut queue);
            turns.next()
        });
        if committed.is_err() && state.began && batch.len() > 1 {
            // One request that asks too much of a full disk takes the transaction with it: the others need not fail.
            for job in batch {
                finish_alone(&mut state, job, shared);
            }
        } else {
            finish(&mut state, batch, &committed, shared);
        }
        if shared.finish_checkpoint.swap(false, Ordering::Relaxed) {
            super::checkpoint::finish(&state.conn);
        }
    }
    // Closed: leave nothing in the log that is not in the database file.
    super::checkpoint::finish(&state.conn);
}

fn take_in(turns: &mut Turns<Box<dyn Job>>, queue: &mut mpsc::Receiver<Asked<Box<dyn Job>>>) {
    while turns.len() < QUEUE
        && let Ok(asked) = queue.try_recv()
    {
        turns.add(asked);
    }
}

fn finish_alone(state: &mut WriteState, job: Box<dyn Job>, shared: &Shared) {
    let (mut job, mut alone) = (Some(job), Vec::new());
    let committed = transact(state, &mut alone, || job.take());
    finish(state, alone, &committed, shared);
}

fn finish(state: &mut WriteState, batch: Vec<Box<dyn Job>>, committed: &Result<(), StoreError>, shared: &Shared) {
    shared.note(committed.as_ref().err().or_else(|| batch.iter().find_map(|job| job.failure())));
    shared.unindexed.store(state.recent.len(), Ordering::Relaxed);
    shared.count(committed, state.appended);
    for job in batch {
        job.finish(committed);
    }
}

/// Runs what `next` gives, into `batch`, in one transaction.
fn transact(
    state: &mut WriteState,
    batch: &mut Vec<Box<dyn Job>>,
    mut next: impl FnMut() -> Option<Box<dyn Job>>,
) -> Result<(), StoreError> {
    state.recent.begin();
    let committed = try_transact(state, batch, &mut next);
    if committed.is_ok() {
        state.bodies.commit();
        return committed;
    }
    if !state.began {
        // The store is away: those whose turn it was are told so.
        batch.extend(std::iter::from_fn(next));
    }
    if !state.conn.is_autocommit() {
        // Failing here means SQLite has rolled back by itself.
        let _ = state.conn.execute_batch("ROLLBACK");
    }
    state.recent.roll_back();
    state.bodies.roll_back();
    committed
}

fn try_transact(
    state: &mut WriteState,
    batch: &mut Vec<Box<dyn Job>>,
    next: &mut impl FnMut() -> Option<Box<dyn Job>>,
) -> Result<(), StoreError> {
    (state.began, state.appended) = (false, 0);
    state.bodies.begin()?;
    execute(&state.conn, "BEGIN IMMEDIATE")?;
    state.began = true;
    while let Some(mut job) = next() {
        job.run(state);
        batch.push(job);
        if state.conn.is_autocommit() {
            return Err(StoreError::Unavailable("SQLite gave up the transaction (disk full or an I/O error)".into()));
        }
    }
    state.bodies.write()?;
    let committed = state.conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    if let Err(error) = &committed
        && error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
    {
        state.bodies.leave_in_place();
    }
    committed?;
    Ok(())
}

fn execute(conn: &Connection, sql: &str) -> Result<(), StoreError> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}
