//! Makes one backup.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::files::{FileDigest, hash_file, list_files};
use super::folder::BackupFolder;
use super::manifest::Manifest;
use super::{format_time, run_with_progress, watch_progress};
use crate::base::clock::Clock;
use crate::operations::{OperationError, Principal, ProgressCallback};
use crate::storage::Maintenance;
use crate::storage::backup::{BackupRecord, BackupStore, CopyRun, StoreCopy};
use crate::view::BackupView;

/// The facets that a backup needs.
pub(crate) trait CopyableStore: BackupStore + Maintenance {}

impl<S: BackupStore + Maintenance + ?Sized> CopyableStore for S {}

#[derive(Clone, Debug)]
pub(crate) struct BackupRequest {
    /// The folder in which the backup gets a subfolder.
    pub folder: PathBuf,
    /// Number of backups of this store to keep in the folder; `None` keeps all.
    pub keep: Option<usize>,
    /// Bytes copied per second, so that intake is not disturbed.
    pub max_bytes_per_second: u64,
}

/// Makes a backup of a store that a receiver may be writing. When `stop` is canceled, it is abandoned.
///
/// # Errors
/// The backup is not complete, and its folder was deleted.
pub(crate) async fn create_backup(
    store: &(impl CopyableStore + ?Sized),
    clock: &Clock,
    principal: &Principal,
    request: &BackupRequest,
    progress: ProgressCallback<'_>,
    stop: &CancellationToken,
) -> Result<BackupView, OperationError> {
    let started = Instant::now();
    let folder = BackupFolder::open(&request.folder)?;
    folder.check_space(store.size_bytes().await?)?;
    let partial = folder.create_partial(clock.now_ms())?;
    let run = Arc::new(CopyRun::new(request.max_bytes_per_second, stop.clone()));
    let copying = store.copy_to(partial.path().to_owned(), Arc::clone(&run));
    let copy = watch_progress(&run, "bytes copied", progress, copying).await?;
    let path = partial.path().to_owned();
    let files = run_with_progress(&run, "bytes checked", progress, move |run| hash_files(&path, run)).await?;
    let manifest = manifest(&copy, files, clock.now_ms());
    manifest.write(partial.path())?;
    let path = folder.publish(partial, copy.taken_at_ms)?;
    tracing::info!(%principal, folder = %path.display(), events = copy.counts.events, "backup created");
    record(store, &path, copy.taken_at_ms).await?;
    let deleted = request.keep.map_or(Ok(Vec::new()), |keep| folder.delete_old(&copy.store_id, keep))?;
    Ok(BackupView {
        folder: path.display().to_string(),
        taken_at: manifest.taken_at.clone(),
        events: copy.counts.events,
        invocations: copy.counts.invocations,
        size_bytes: manifest.size_bytes(),
        seconds: started.elapsed().as_secs_f64(),
        removed_events: copy.removed_events,
        damaged_events: copy.damaged_events,
        deleted_backups: deleted.iter().map(|path| path.display().to_string()).collect(),
    })
}

fn hash_files(folder: &Path, run: &CopyRun) -> Result<Vec<FileDigest>, OperationError> {
    list_files(folder)?.iter().map(|file| hash_file(folder, file, run)).collect()
}

fn manifest(copy: &StoreCopy, files: Vec<FileDigest>, now_ms: i64) -> Manifest {
    Manifest {
        format: Manifest::FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store_id: copy.store_id.clone(),
        taken_at_ms: copy.taken_at_ms,
        taken_at: format_time(copy.taken_at_ms),
        finished_at: format_time(now_ms),
        counts: copy.counts,
        erasure_mark: copy.erasure_mark.clone(),
        damaged_events: copy.damaged_events.clone(),
        files,
    }
}

/// Remembers the backup in the store, and forgets those that no longer exist.
async fn record(store: &(impl BackupStore + ?Sized), path: &Path, taken_at_ms: i64) -> Result<(), OperationError> {
    store.record_backup(BackupRecord { folder: path.display().to_string(), taken_at_ms }).await?;
    let known = store.list_backups().await?;
    let gone = known.into_iter().map(|backup| backup.folder).filter(|folder| !Path::new(folder).exists());
    Ok(store.forget_backups(gone.collect()).await?)
}
