//! Group commit. One thread owns the writing connection. All writes that wait when it is free share one transaction
//! and one fsync; a write after a quiet time is committed at once. A caller gets its result after the commit.

pub(super) mod append;
mod channel;
pub(super) mod queue;
pub(super) mod recent_events;
mod status;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{oneshot, watch};

use self::channel::WriteChannel;
use self::recent_events::StagedEvents;
use self::status::WriterStatus;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::SqliteUrl;
use crate::storage::sqlite::bodies::BodyFileWriter;
use crate::storage::sqlite::calls::PendingTotals;
use crate::storage::sqlite::files::{DiskReserve, OpenFiles, StoreLock};
use crate::storage::sqlite::identity::filter::IdentityFilter;
use crate::storage::sqlite::identity::recent_keys::RecentKeys;
use crate::storage::sqlite::wal::{SyncState, checkpoint};
use crate::storage::sqlite::writer::queue::{QueuedWrite, WritePriority, WriteQueue};
use crate::storage::{IdentityKey, StoreChanges, StoreError};

/// How long [`StoreWriter::close`] waits for the accepted writes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of the writer thread.
pub(in crate::storage::sqlite) struct WriterContext {
    pub(in crate::storage::sqlite) url: SqliteUrl,
    pub(in crate::storage::sqlite) conn: Connection,
    pub(in crate::storage::sqlite) sync: SyncState,
    pub(in crate::storage::sqlite) reserve: DiskReserve,
    /// Why no events may be stored in this transaction: the disk reserve is in use.
    pub(in crate::storage::sqlite) intake_refusal: Option<StoreError>,
    pub(in crate::storage::sqlite) recent_keys: RecentKeys,
    pub(in crate::storage::sqlite) identity_filter: IdentityFilter,
    /// Changes of calls in this transaction that their totals do not have yet.
    pub(in crate::storage::sqlite) call_totals: PendingTotals,
    pub(in crate::storage::sqlite) bodies: BodyFileWriter,
    pub(in crate::storage::sqlite) files: Arc<OpenFiles>,
    /// Whether `BEGIN` succeeded for the latest transaction. If not, the store is unavailable and no job is to blame.
    pub(in crate::storage::sqlite) transaction_begun: bool,
    /// Events that the latest transaction has added.
    pub(in crate::storage::sqlite) appended_events: usize,
    /// The same events, for the handlers.
    pub(in crate::storage::sqlite) staged_events: StagedEvents,
    /// SQLite's number of the state that the latest transaction began with; other connections change it.
    pub(in crate::storage::sqlite) data_version: Option<i64>,
    pub(in crate::storage::sqlite) changes: watch::Sender<StoreChanges>,
}

type JobChannel = WriteChannel<Box<dyn WriteJob>>;

/// A handle to the writer thread.
#[derive(Clone)]
pub(in crate::storage::sqlite) struct StoreWriter {
    jobs: Arc<JobChannel>,
    thread_done: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
    pub(in crate::storage::sqlite) status: Arc<WriterStatus>,
    pub(in crate::storage::sqlite) identity_key: IdentityKey,
}

impl StoreWriter {
    /// Starts the thread. `lock` is released when it ends.
    pub(in crate::storage::sqlite) fn start(
        mut state: WriterContext,
        identity_key: IdentityKey,
        lock: StoreLock,
        supervisor: &Supervisor,
    ) -> Result<Self, StoreError> {
        let jobs = Arc::new(JobChannel::default());
        let incoming = Arc::clone(&jobs);
        let (done_sender, done) = oneshot::channel();
        let status = Arc::new(WriterStatus::default());
        let thread_status = Arc::clone(&status);
        supervisor
            .spawn_thread("store-writer", move || {
                run_writer(&mut state, &incoming, &thread_status);
                // The connection closes before the lock is released, and the lock is released before `close` returns:
                // a receiver that starts afterwards finds neither.
                drop(state);
                drop(lock);
                let _ = done_sender.send(());
            })
            .map_err(|error| StoreError::unusable(format!("cannot start the thread store-writer: {error}")))?;
        Ok(Self { jobs, thread_done: Arc::new(Mutex::new(Some(done))), status, identity_key })
    }

    /// Runs `work` inside the next transaction and returns its result after the commit. When the transaction fails,
    /// `work` runs once more in a separate one, so it must be repeatable.
    pub(in crate::storage::sqlite) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriterContext) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_with_priority(WritePriority::Ingest, work).await
    }

    /// Like [`StoreWriter::write`], for a live request: `work` joins the transaction that is open now.
    pub(in crate::storage::sqlite) async fn write_live<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriterContext) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_with_priority(WritePriority::Live, work).await
    }

    /// Like [`StoreWriter::write`], for background work: events and live requests go first. `rows` is the approximate
    /// number of rows that `work` changes.
    pub(in crate::storage::sqlite) async fn write_background<T, F>(&self, rows: usize, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriterContext) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_with_priority(WritePriority::Background(rows), work).await
    }

    pub(in crate::storage::sqlite) async fn write_with_priority<T, F>(
        &self,
        priority: WritePriority,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut WriterContext) -> Result<T, StoreError> + Send + 'static,
    {
        let closed = || StoreError::unavailable("the store is closed");
        let (reply, result) = oneshot::channel();
        let job = Box::new(WriteClosure { work, outcome: None, reply });
        self.jobs.send(QueuedWrite { priority, job }).await.map_err(|_| closed())?;
        result.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Makes the thread run a transaction without a write, unless it is busy anyway.
    pub(in crate::storage::sqlite) fn wake(&self) {
        let (reply, _) = oneshot::channel();
        let job = Box::new(WriteClosure { work: |_: &mut WriterContext| Ok(()), outcome: None, reply });
        self.jobs.try_send(QueuedWrite { priority: WritePriority::Background(0), job });
    }

    /// Commits the queued writes, ends the thread and closes the file.
    pub(in crate::storage::sqlite) async fn close(&self) -> Result<(), StoreError> {
        self.jobs.close();
        let done = self.thread_done.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(done) = done else {
            return Ok(());
        };
        match tokio::time::timeout(CLOSE_TIMEOUT, done).await {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::unavailable("the queued writes did not finish within 5 s")),
        }
    }
}

/// One caller's part of a transaction.
trait WriteJob: Send {
    /// Runs the work and keeps its result. Called a second time when the job is retried in a separate transaction.
    fn run(&mut self, state: &mut WriterContext);
    /// The error, when the work failed because the store is unavailable and not because of its data.
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
            Some(Err(error)) if error.is_retryable() => Some(error),
            _ => None,
        }
    }

    fn complete(self: Box<Self>, committed: &Result<(), StoreError>) {
        let outcome = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            // The work may have succeeded, but its effect was rolled back.
            (Err(error), _) => Err(error.clone()),
            (Ok(()), None) => Err(StoreError::unavailable("the write was not attempted")),
        };
        // Before the reply: what the work shares with its caller belongs to the caller alone then.
        drop(self.work);
        // The caller may have given up. Its event is stored nevertheless, and the same body sent again is a duplicate.
        let _ = self.reply.send(outcome);
    }
}

/// Closes the channel also when the thread panics: writes that no one receives must not be accepted.
struct CloseOnDrop<'a>(&'a JobChannel);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn run_writer(state: &mut WriterContext, incoming: &JobChannel, status: &WriterStatus) {
    let _close_on_drop = CloseOnDrop(incoming);
    let mut write_queue = WriteQueue::default();
    let mut last_begin = None;
    loop {
        // What did not fit into the previous transaction waits no longer.
        if write_queue.len() == 0 && !incoming.wait(last_begin) {
            break;
        }
        last_begin = Some(Instant::now());
        incoming.receive(&mut write_queue);
        write_queue.begin_transaction();
        let mut batch = Vec::new();
        let committed = run_transaction(state, &mut batch, || {
            // Before every job, because a live request that arrived meanwhile joins this transaction.
            incoming.receive(&mut write_queue);
            write_queue.pop()
        });
        if committed.is_err() && state.transaction_begun && !state.files.differ() && batch.len() > 1 {
            // One job that needs too much space on a full disk makes SQLite roll the whole transaction back. Run each
            // job alone, so that the others succeed. If `BEGIN` failed, the store is unavailable for all of them, and
            // running each alone would only wait for the same lock again, job by job.
            for job in batch {
                commit_alone(state, job, status);
            }
        } else {
            complete_batch(state, batch, &committed, status);
        }
        if state.files.differ() {
            checkpoint::release_log(&state.conn, &state.url, &state.sync, &state.files);
        }
        // Between two transactions, because only then can the checkpoint reach the end of the log, see
        // `checkpoint.rs`.
        if status.checkpoint_requested.swap(false, Ordering::Relaxed) {
            checkpoint::finish_checkpoint(&state.conn, &state.url, &state.sync);
        }
    }
    status.checkpoint_thread.wake();
    if !state.files.is_database_moved() {
        checkpoint::empty_wal_at_close(&state.conn, &state.url, &state.sync);
    }
}

fn commit_alone(state: &mut WriterContext, job: Box<dyn WriteJob>, status: &WriterStatus) {
    let mut next_job = Some(job);
    let mut batch = Vec::new();
    let committed = run_transaction(state, &mut batch, || next_job.take());
    complete_batch(state, batch, &committed, status);
}

fn complete_batch(
    state: &mut WriterContext,
    batch: Vec<Box<dyn WriteJob>>,
    committed: &Result<(), StoreError>,
    status: &WriterStatus,
) {
    // A transaction can commit although a job in it failed: SQLite may undo only the statement that found the disk
    // full.
    let failure = committed.as_ref().err().or_else(|| batch.iter().find_map(|job| job.unavailable_error()));
    status.log_availability_change(failure);
    status.unindexed_keys.store(state.recent_keys.len(), Ordering::Relaxed);
    status.record_transaction(committed, state.appended_events, batch.len());
    let has_appended = committed.is_ok() && state.appended_events > 0;
    if has_appended {
        let external = state.changes.borrow().external;
        state.staged_events.commit(external);
        let count = |changes: &mut StoreChanges| {
            changes.appended += state.appended_events as u64;
            false
        };
        state.changes.send_if_modified(count);
    }
    // After the figures: a caller that reads them after its result sees its own write counted.
    for job in batch {
        job.complete(committed);
    }
    if has_appended {
        // After the results: senders are answered before handlers wake up.
        state.changes.send_modify(|_| {});
    }
}

/// Runs the jobs that `next` yields in one transaction and moves them into `batch`. Afterwards the recent keys and
/// the body files are in the same state as the database: all three have the transaction, or none has it.
fn run_transaction(
    state: &mut WriterContext,
    batch: &mut Vec<Box<dyn WriteJob>>,
    mut next: impl FnMut() -> Option<Box<dyn WriteJob>>,
) -> Result<(), StoreError> {
    state.recent_keys.mark_committed();
    let committed = try_transaction(state, batch, &mut next);
    if committed.is_ok() {
        state.bodies.commit();
        // The transaction stays, but no one may rely on it when a restart would open other files.
        return state.files.check_with_bodies(&state.bodies);
    }
    if !state.transaction_begun {
        // The jobs of this transaction get the error now. If they stayed queued, each would wait for its own
        // lock timeout, and a sender could wait longer than the 10 s after which Retell gives up.
        batch.extend(std::iter::from_fn(next));
    }
    if !state.conn.is_autocommit() {
        // An error here means that SQLite has rolled back already.
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
    state.transaction_begun = false;
    state.appended_events = 0;
    state.staged_events.clear();
    state.call_totals.clear();
    state.intake_refusal = state.reserve.keep().err();
    // After a failed sync nothing is committed any more; all jobs get that error.
    state.sync.check()?;
    if state.files.differ() {
        state.files.check()?;
    }
    // Between two transactions: within one, all bodies lie in the same file and one sync covers them.
    state.bodies.rotate_if_needed()?;
    // Immediate, because a deferred transaction that turns into a writer later fails at once when another process has
    // written meanwhile; this one waits for the lock here, before any job has run.
    execute(&state.conn, "BEGIN IMMEDIATE")?;
    state.transaction_begun = true;
    notice_other_connections(state)?;
    while let Some(mut job) = next() {
        job.run(state);
        if let Some(error) = job.unavailable_error() {
            state.sync.observe_error(&state.url, error);
        }
        // Autocommit is on again when SQLite has rolled the transaction back by itself. A further job would then run
        // outside any transaction and commit by itself, without a sync of its body.
        if state.conn.is_autocommit() {
            // The error of the job says why SQLite did so, and what to do about it.
            let cause = job.unavailable_error().cloned();
            batch.push(job);
            return Err(cause.unwrap_or_else(|| {
                StoreError::unavailable("SQLite rolled the transaction back: disk full or I/O error")
            }));
        }
        batch.push(job);
    }
    state.call_totals.write(&state.conn)?;
    // Bodies are synced before the commit: a row on disk never names a body that is not.
    state.bodies.write_staged()?;
    if state.bodies.has_staged() {
        // A row must not name a body in a file that a restart does not open: an event that is sent again would be taken
        // for a duplicate of one without a body.
        state.files.check_body_file(&state.bodies)?;
    }
    let committed = state.conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    if let Err(error) = &committed
        && error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
    {
        // A failed sync leaves open whether the commit is on disk. If its rows are back after a crash, their bodies
        // have to be there too, so the bytes stay.
        state.bodies.assume_committed();
    }
    state.sync.observe(&state.url, committed.map(drop).map_err(StoreError::from))
}

/// Counts a change when another connection has committed since the previous transaction.
fn notice_other_connections(state: &mut WriterContext) -> Result<(), StoreError> {
    let version = state.conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
    if state.data_version.replace(version).is_some_and(|previous| previous != version) {
        state.changes.send_modify(|changes| changes.external += 1);
    }
    Ok(())
}

fn execute(conn: &Connection, sql: &str) -> Result<(), StoreError> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}
