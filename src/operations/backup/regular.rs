//! Makes backups at a regular interval until it is stopped.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::create::{BackupRequest, CopyableStore, create_backup};
use crate::base::clock::Clock;
use crate::operations::{OperationError, Principal, ProgressCallback};
use crate::view::BackupView;

pub(crate) struct BackupSchedule {
    /// From the start of one backup to the start of the next.
    pub every: Duration,
    pub backup: BackupRequest,
}

/// One of the regular backups.
pub(crate) type RegularBackup = Result<BackupView, OperationError>;

/// Makes the first backup at once. A failed one is reported, and the next one is made at its time. Returns whether the last
/// one succeeded.
pub(crate) async fn run_regular_backups(
    store: &(impl CopyableStore + ?Sized),
    clock: &Clock,
    principal: &Principal,
    schedule: &BackupSchedule,
    mut on_backup: impl FnMut(RegularBackup),
    progress: ProgressCallback<'_>,
    stop: &CancellationToken,
) -> bool {
    let mut next_at = Instant::now();
    let mut last_succeeded = true;
    loop {
        let backup = create_backup(store, clock, principal, &schedule.backup, progress, stop).await;
        if stop.is_cancelled() && backup.is_err() {
            // It was abandoned on request.
            return last_succeeded;
        }
        last_succeeded = backup.is_ok();
        on_backup(backup);
        // A backup that takes longer than the interval is followed by the next one at once.
        next_at = (next_at + schedule.every).max(Instant::now());
        tokio::select! {
            () = sleep_until(next_at) => {}
            () = stop.cancelled() => return last_succeeded,
        }
    }
}
