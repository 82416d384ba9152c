//! Restores a backup into the place of a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::erasures::LaterErasures;
use super::files::{copy_file, sync_folder};
use super::manifest::Manifest;
use super::{run_with_progress, time_name, verify_backup};
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::config::StorageUrl;
use crate::operations::{OperationError, Principal, ProgressCallback};
use crate::storage::backup::{BackupRecord, CopyRun};
use crate::storage::{self, RestorePlace};
use crate::view::{ReappliedErasuresView, RestoreView};

pub(crate) struct RestoreRequest {
    /// The folder of the backup.
    pub backup: PathBuf,
    /// Rename the files of a store that is in the place, instead of failing.
    pub move_aside: bool,
}

/// Restores a backup to `url`: checks it, makes the later erasures again, and puts it in place.
///
/// # Errors
/// The backup is damaged, the place is in use or has a store that may not be moved, or files cannot be written. The place
/// is unchanged, or its files have been renamed.
pub(crate) async fn restore_backup(
    url: &StorageUrl,
    clock: &Clock,
    principal: &Principal,
    request: &RestoreRequest,
    progress: ProgressCallback<'_>,
    stop: &CancellationToken,
) -> Result<RestoreView, OperationError> {
    let place = RestorePlace::claim(url)?;
    if let Some(path) = place.existing_files().first()
        && !request.move_aside
    {
        return Err(OperationError::PlaceTaken(format!("{} exists: there is a store in this place", path.display())));
    }
    let check = verify_backup(&request.backup, progress, stop).await?;
    if !check.ok {
        let problems = check.problems.join("; ");
        return Err(OperationError::InvalidInput(format!("the backup cannot be restored: {problems}")));
    }
    let manifest = Manifest::read(&request.backup).map_err(OperationError::InvalidInput)?;
    let completed = complete_copy(&place, url, clock, request, &manifest, progress, stop).await;
    let erasures = match completed {
        Ok(erasures) => erasures,
        Err(error) => {
            place.abandon();
            return Err(error);
        }
    };
    let moved_aside = place.put_in_place(&manifest.store_id, &time_name(clock.now_ms()))?;
    tracing::info!(%principal, backup = %request.backup.display(), "backup restored");
    Ok(RestoreView {
        store: url.location(),
        taken_at: manifest.taken_at,
        events: manifest.counts.events.saturating_sub(erasures.events),
        moved_aside: moved_aside.map(|path| path.display().to_string()),
        erasures,
    })
}

/// Copies the backup to the file system of the store, and makes the later erasures again there.
async fn complete_copy(
    place: &RestorePlace,
    url: &StorageUrl,
    clock: &Clock,
    request: &RestoreRequest,
    manifest: &Manifest,
    progress: ProgressCallback<'_>,
    stop: &CancellationToken,
) -> Result<ReappliedErasuresView, OperationError> {
    let staging = place.create_staging_folder()?.to_owned();
    let run = Arc::new(CopyRun::new(u64::MAX, stop.clone()));
    run.begin(manifest.size_bytes());
    let (from, to, files) = (request.backup.clone(), staging.clone(), manifest.files.clone());
    let copy = move |run: &CopyRun| {
        for file in files {
            if copy_file(&from, &to, &file.path, run)? != file {
                let message = format!("{} has changed since it was checked", from.join(&file.path).display());
                return Err(OperationError::InvalidInput(message));
            }
        }
        sync_folder(&to)
    };
    run_with_progress(&run, "bytes copied", progress, copy).await?;
    let later = LaterErasures::new(manifest, storage::read_erasure_log(url)?);
    // Its threads end with it, before the files are renamed.
    let supervisor = Supervisor::default();
    let store = storage::open_copy(&staging, &supervisor)?;
    let erasures = later.reapply(&*store, clock, progress).await?;
    let folder = std::fs::canonicalize(&request.backup).unwrap_or_else(|_| request.backup.clone());
    let record = BackupRecord { folder: path_text(&folder), taken_at_ms: manifest.taken_at_ms };
    store.record_backup(record).await?;
    store.close().await?;
    Ok(erasures)
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}
