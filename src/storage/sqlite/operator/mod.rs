//! Changes by an operator, while a receiver may be running on the same store: a second connection with small
//! transactions, on a separate thread.

mod call_totals;
mod deliveries;
mod latency_totals;
mod operator_store;
mod removal;

use std::sync::Arc;

use tokio::sync::OnceCell;

pub(super) use self::deliveries::DeliveryCursor;
pub(super) use self::latency_totals::TotalsRebuildState;
pub(super) use self::operator_store::OperatorStore;
pub(super) use self::removal::OperatorRemoval;
use super::wal::SyncState;
use super::worker_threads::WorkerThreads;
use super::{SqliteStore, SqliteUrl, read_only_error};
use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

/// The thread that makes the changes of an operator.
pub(super) type OperatorThread = WorkerThreads<OperatorRemoval>;

/// Whether, and how, a store makes the changes of an operator.
pub(super) enum Operator {
    ReadOnly,
    /// Started at the first change: a receiver needs the thread and its connections only if an operator changes something through it.
    Writer {
        url: SqliteUrl,
        sync: SyncState,
        supervisor: Supervisor,
        thread: OnceCell<Arc<OperatorThread>>,
    },
}

impl Operator {
    /// Starts the thread when it is first needed.
    pub(super) fn new(url: &SqliteUrl, sync: &SyncState, supervisor: &Supervisor) -> Self {
        Self::Writer { url: url.clone(), sync: sync.clone(), supervisor: supervisor.clone(), thread: OnceCell::new() }
    }

    /// Starts the thread now, so that a store that cannot be written fails the command at once.
    pub(super) fn start(url: &SqliteUrl, sync: &SyncState, supervisor: &Supervisor) -> Result<Self, StoreError> {
        let thread = OnceCell::new_with(Some(start_thread(url, sync, supervisor)?));
        Ok(Self::Writer { url: url.clone(), sync: sync.clone(), supervisor: supervisor.clone(), thread })
    }
}

fn start_thread(url: &SqliteUrl, sync: &SyncState, supervisor: &Supervisor) -> Result<Arc<OperatorThread>, StoreError> {
    let removal = OperatorRemoval::open(url, sync)?;
    Ok(Arc::new(WorkerThreads::start("store-operator", [removal], supervisor)?))
}

impl SqliteStore {
    /// The thread for the changes of an operator.
    ///
    /// # Errors
    /// [`StoreError`] of the kind `Unusable` when the store was opened read-only.
    pub(super) async fn operator(&self) -> Result<Arc<OperatorThread>, StoreError> {
        match &self.operator {
            Operator::ReadOnly => Err(read_only_error()),
            Operator::Writer { url, sync, supervisor, thread } => {
                thread.get_or_try_init(|| async { start_thread(url, sync, supervisor) }).await.cloned()
            }
        }
    }
}
