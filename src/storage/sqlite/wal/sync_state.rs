//! What a failed sync (fsync) of a file of the store means: everything stops.
//!
//! After a failed sync Linux forgets which pages it did not write: they are in memory, count as written, and a second
//! sync succeeds without writing them. A checkpoint that is repeated would then start the WAL over, and a power cut
//! would lose what only those pages held. A commit that is repeated would follow a gap in the WAL. So no process
//! commits or checkpoints any more, until a receiver has rebuilt the database from the WAL (`recovery.rs`).
//!
//! The file `<database>.sync-state` tells the other processes, and the next receiver. It is never synced: after a power
//! cut no process is left, and SQLite reads the whole WAL anyway.

use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};

use crate::base::supervise::Supervisor;
use crate::storage::sqlite::{SqliteUrl, open};
use crate::storage::{StoreError, StoreErrorKind};

/// The first line, at a fixed length, so that it is changed by one write to a place that the file already has: this
/// works on a full disk, and often on one that fails.
const IDLE: &str = "idle      \n";
const CHECKPOINT: &str = "checkpoint\n";
/// Length of the second line, the boot id of the machine.
const BOOT_LINE_BYTES: usize = 37;
/// The failure begins here and takes the rest of the file. Fixed, because the parts are written by different processes
/// without a common lock.
const FAILURE_OFFSET: usize = IDLE.len() + BOOT_LINE_BYTES;
/// More of the file is not read.
const MAX_FILE_BYTES: u64 = 2_048;

/// Whether every sync of the store's files has succeeded. Clones share it.
#[derive(Clone)]
pub(in crate::storage::sqlite) struct SyncState(Arc<Shared>);

struct Shared {
    path: PathBuf,
    /// The first failure that this process has seen.
    failure: OnceLock<StoreError>,
    /// Stops the receiver after a failure; `None` in a command.
    receiver: Option<Supervisor>,
}

/// The three parts of the file, as last written.
struct FileContent {
    checkpoint_running: bool,
    boot_id: String,
    failure: Option<String>,
}

impl SyncState {
    pub(in crate::storage::sqlite) fn of_receiver(url: &SqliteUrl, supervisor: &Supervisor) -> Self {
        Self::new(url, Some(supervisor.clone()))
    }

    pub(in crate::storage::sqlite) fn of_command(url: &SqliteUrl) -> Self {
        Self::new(url, None)
    }

    fn new(url: &SqliteUrl, receiver: Option<Supervisor>) -> Self {
        Self(Arc::new(Shared { path: url.path_with_suffix(".sync-state"), failure: OnceLock::new(), receiver }))
    }

    /// Fails after a failed sync: in a receiver its own, in a command that of any process. Call it before each use of the
    /// store, so that a command ends and closes its files, which a restarted receiver waits for.
    pub(in crate::storage::sqlite) fn check(&self) -> Result<(), StoreError> {
        if let Some(failure) = self.0.failure.get() {
            return Err(failure.clone());
        }
        if self.0.receiver.is_some() {
            return Ok(());
        }
        match self.read().failure {
            Some(failure) => Err(StoreError::unusable(command_advice(&failure))),
            None => Ok(()),
        }
    }

    /// Records that a sync of `file` has failed: nothing is committed or checkpointed any more, and a receiver stops.
    /// Returns the error for the caller whose data was to be synced. Call it for any file or folder of the store; the
    /// failed sync must not be repeated.
    pub(in crate::storage::sqlite) fn report(&self, file: &Path, error: &dyn Display) -> StoreError {
        self.fail(&format!("cannot sync {}: {error}", file.display()))
    }

    /// Passes on the result of an SQL statement on `url`, and records a failed sync in it.
    pub(in crate::storage::sqlite) fn observe<T>(
        &self,
        url: &SqliteUrl,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        result.map_err(|error| self.observe_error(url, &error).unwrap_or(error))
    }

    /// Records the error of an SQL statement on `url` if it is a failed sync, and returns what to tell the caller then.
    pub(in crate::storage::sqlite) fn observe_error(&self, url: &SqliteUrl, error: &StoreError) -> Option<StoreError> {
        is_failed_sync(error).then(|| self.report(url.path(), &error.message()))
    }

    /// A failed sync is in the log already, and every checkpoint fails from then on.
    pub(super) fn log_checkpoint_failure(&self, error: &StoreError) {
        if self.check().is_ok() {
            tracing::warn!(%error, "checkpoint failed");
        }
    }

    fn fail(&self, failure: &str) -> StoreError {
        let error = StoreError::unavailable(match self.0.receiver {
            Some(_) => receiver_advice(failure),
            None => command_advice(failure),
        });
        if self.0.failure.set(error).is_ok() {
            if let Err(error) = self.write_failure(failure) {
                let path = self.0.path.display();
                tracing::error!(%path, %error, "sync state not written");
            }
            tracing::error!(
                error = failure,
                next = "check the disk, then start the receiver again",
                "store sync failed"
            );
            if let Some(supervisor) = &self.0.receiver {
                supervisor.fail("store-sync");
            }
        }
        self.0.failure.get().cloned().unwrap_or_else(|| StoreError::unavailable(failure))
    }

    /// Permission for one checkpoint; `None` while another thread or process has it. Until it is returned, the file says
    /// that a checkpoint is running, so a process that is killed during a sync leaves a trace.
    pub(in crate::storage::sqlite) fn begin_checkpoint(&self) -> Result<Option<CheckpointPermit>, StoreError> {
        self.check()?;
        let failed = |error: io::Error| {
            StoreError::unavailable(format!("cannot lock {} for a checkpoint: {error}", self.0.path.display()))
        };
        let file = open::open_private_file(&self.0.path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut permit = CheckpointPermit { state: self.clone(), file };
        self.check_other_processes()?;
        if self.read().checkpoint_running {
            return Err(self.fail(INTERRUPTED_CHECKPOINT));
        }
        permit.write_line(CHECKPOINT).map_err(failed)?;
        Ok(Some(permit))
    }

    /// Fails, and stops a receiver, if another process has noted a failed sync.
    pub(super) fn check_other_processes(&self) -> Result<(), StoreError> {
        self.read().failure.map_or(Ok(()), |failure| Err(self.fail(&failure)))
    }

    /// Why the database has to be rebuilt from the WAL before anything is written; `None` when it need not.
    pub(in crate::storage::sqlite) fn rebuild_reason(&self) -> Option<String> {
        let found = self.read();
        found.failure.or_else(|| self.is_checkpoint_interrupted().then(|| INTERRUPTED_CHECKPOINT.to_owned()))
    }

    /// Whether the file says that a checkpoint is running and no process holds the lock of one: that process ended.
    fn is_checkpoint_interrupted(&self) -> bool {
        let Ok(file) = File::open(&self.0.path) else { return false };
        // Read under the lock, so that a checkpoint that ends at this moment does not count.
        !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) && self.read().checkpoint_running
    }

    /// Tells commands to end, which keep the store open that is to be rebuilt.
    pub(in crate::storage::sqlite) fn announce_rebuild(&self, reason: &str) -> io::Result<()> {
        self.write_failure(reason)
    }

    /// Forgets the failure. Only a receiver that has rebuilt the store calls it.
    pub(in crate::storage::sqlite) fn reset(&self) -> io::Result<()> {
        let mut file = open::open_private_file(&self.0.path)?;
        let boot_id = current_boot_id();
        file.write_all(format!("{IDLE}{boot_id:width$.width$}\n", width = BOOT_LINE_BYTES - 1).as_bytes())?;
        file.set_len(FAILURE_OFFSET as u64)
    }

    /// Whether the machine has run without interruption since a receiver last opened the store, so that everything that
    /// was written is there, synced or not. `false` when this is not known.
    pub(in crate::storage::sqlite) fn is_same_boot(&self) -> bool {
        let boot_id = current_boot_id();
        !boot_id.is_empty() && self.read().boot_id == boot_id
    }

    /// A file that is missing, or damaged by a power cut, says nothing.
    fn read(&self) -> FileContent {
        let mut text = Vec::new();
        if let Ok(file) = File::open(&self.0.path) {
            let _ = file.take(MAX_FILE_BYTES).read_to_end(&mut text);
        }
        let part = |range: std::ops::Range<usize>| {
            let part = String::from_utf8_lossy(text.get(range).unwrap_or_default());
            part.trim_matches(['\0', '\n', ' ']).to_owned()
        };
        let failure = part(FAILURE_OFFSET.min(text.len())..text.len());
        FileContent {
            checkpoint_running: text.starts_with(CHECKPOINT.as_bytes()),
            boot_id: part(IDLE.len()..FAILURE_OFFSET),
            failure: Some(failure).filter(|failure| !failure.is_empty()),
        }
    }

    fn write_failure(&self, failure: &str) -> io::Result<()> {
        let mut file = open::open_private_file(&self.0.path)?;
        file.seek(SeekFrom::Start(FAILURE_OFFSET as u64))?;
        file.write_all(format!("{failure}\n").as_bytes())
    }
}

const INTERRUPTED_CHECKPOINT: &str = "a process ended during a checkpoint, so whether its sync failed is unknown";

fn receiver_advice(failure: &str) -> String {
    format!(
        "{failure}; nothing is stored any more and the receiver stops. Check the disk and the system log (`dmesg`), then \
         start the receiver again: it writes again what the disk may not hold"
    )
}

fn command_advice(failure: &str) -> String {
    format!(
        "{failure}; the store cannot be used until a receiver has started and written again what the disk may not hold. \
         Check the disk and the system log (`dmesg`), and start the receiver"
    )
}

/// A random id that Linux makes at each boot; empty on other systems.
fn current_boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn is_failed_sync(error: &StoreError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<rusqlite::Error>());
    let code = source.and_then(rusqlite::Error::sqlite_error).map(|failure| failure.extended_code);
    error.kind() == StoreErrorKind::Unavailable
        && code.is_some_and(|code| code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC)
}

/// Permission for one checkpoint, see [`SyncState::begin_checkpoint`].
pub(in crate::storage::sqlite) struct CheckpointPermit {
    state: SyncState,
    file: File,
}

impl CheckpointPermit {
    /// Returns the permission with the result of the checkpoint of `url`.
    pub(in crate::storage::sqlite) fn finish<T>(
        mut self,
        url: &SqliteUrl,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = self.state.observe(url, result);
        if self.state.0.failure.get().is_none()
            && let Err(error) = self.write_line(IDLE)
        {
            let path = self.state.0.path.display();
            tracing::error!(%path, %error, "sync state not written");
        }
        result
    }

    fn write_line(&mut self, line: &str) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(line.as_bytes())
    }
}

impl Drop for CheckpointPermit {
    fn drop(&mut self) {
        // Explicitly: a child process that is just being started holds a copy of the descriptor.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct States {
        _folder: tempfile::TempDir,
        supervisor: Supervisor,
        receiver: SyncState,
        command: SyncState,
    }

    fn states() -> States {
        let folder = tempfile::tempdir().unwrap();
        let url = SqliteUrl::file(folder.path().join("events.db"));
        let supervisor = Supervisor::default();
        let (receiver, command) = (SyncState::of_receiver(&url, &supervisor), SyncState::of_command(&url));
        receiver.reset().unwrap();
        States { _folder: folder, supervisor, receiver, command }
    }

    fn url(states: &States) -> SqliteUrl {
        SqliteUrl::file(states.receiver.0.path.with_extension(""))
    }

    #[test]
    fn a_failed_sync_stops_the_receiver_and_commands_until_the_store_is_rebuilt() {
        let states = states();
        assert!(states.receiver.check().is_ok() && states.command.check().is_ok());
        let error = states.receiver.report(Path::new("events.db-wal"), &"Input/output error");
        assert!(error.to_string().contains("cannot sync events.db-wal: Input/output error"), "{error}");
        assert!(states.supervisor.has_failed());
        assert!(states.receiver.begin_checkpoint().is_err() && states.command.begin_checkpoint().is_err());
        let refused = states.command.check().unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Unusable);
        assert!(refused.to_string().contains("cannot sync events.db-wal"), "{refused}");
        assert!(states.receiver.rebuild_reason().is_some_and(|reason| reason.contains("events.db-wal")));
        states.receiver.reset().unwrap();
        let next = SyncState::of_command(&url(&states));
        assert!(next.check().is_ok() && next.rebuild_reason().is_none() && next.is_same_boot());
    }

    #[test]
    fn one_checkpoint_runs_at_a_time_and_one_that_did_not_finish_is_noticed() {
        let states = states();
        let permit = states.command.begin_checkpoint().unwrap().unwrap();
        assert!(states.receiver.begin_checkpoint().unwrap().is_none(), "another one is running");
        assert!(states.receiver.rebuild_reason().is_none(), "its process has not ended");
        permit.finish(&url(&states), Ok(())).unwrap();
        // As when the process is killed.
        drop(states.command.begin_checkpoint().unwrap().unwrap());
        assert!(states.receiver.rebuild_reason().is_some());
        assert!(states.receiver.begin_checkpoint().is_err());
        assert!(states.supervisor.has_failed());
    }

    #[test]
    fn a_failure_that_a_command_reports_stops_the_receiver_at_its_next_checkpoint() {
        let states = states();
        states.command.report(Path::new("events.db"), &"Input/output error");
        assert!(states.receiver.begin_checkpoint().is_err() && states.supervisor.has_failed());
    }

    #[test]
    fn a_file_that_a_power_cut_has_damaged_says_nothing() {
        let states = states();
        for content in [&b""[..], &[0; 500], b"idle"] {
            std::fs::write(&states.receiver.0.path, content).unwrap();
            assert!(states.command.check().is_ok() && states.command.rebuild_reason().is_none());
            assert!(!states.command.is_same_boot());
        }
    }
}
