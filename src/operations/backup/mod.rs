//! Backups: consistent copies of a store in folders, their check, and restoring one. docs/backup.md describes them.

mod create;
mod erasures;
mod files;
mod folder;
mod manifest;
mod regular;
mod restore;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub(crate) use self::create::{BackupRequest, create_backup};
pub(crate) use self::regular::{BackupSchedule, run_regular_backups};
pub(crate) use self::restore::{RestoreRequest, restore_backup};
pub(crate) use self::verify::verify_backup;
use super::{OperationError, Progress, ProgressCallback};
use crate::base::supervise::run_blocking;
use crate::storage::backup::CopyRun;

const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Runs blocking work on another thread, and reports the progress of its copy.
async fn run_with_progress<T: Send + 'static>(
    run: &Arc<CopyRun>,
    step: &'static str,
    progress: ProgressCallback<'_>,
    work: impl FnOnce(&CopyRun) -> Result<T, OperationError> + Send + 'static,
) -> Result<T, OperationError> {
    let shared = Arc::clone(run);
    let work = async move { run_blocking(move || work(&shared)).await };
    watch_progress(run, step, progress, work)
        .await
        .unwrap_or_else(|| Err(OperationError::Stopped("the process is shutting down".to_owned())))
}

/// Reports the progress of a copy until `work` ends.
async fn watch_progress<T>(
    run: &CopyRun,
    step: &'static str,
    progress: ProgressCallback<'_>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                let (done, total) = run.progress();
                progress(Progress { step, done, total });
            }
        }
    }
}

fn format_time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// The name of a folder or file for a time.
fn time_name(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y%m%dT%H%M%S.%3fZ").to_string()
}
