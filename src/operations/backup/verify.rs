//! Checks a backup: every file against the manifest, and the store by opening it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::files::{hash_file, list_files};
use super::manifest::Manifest;
use super::run_with_progress;
use crate::operations::{OperationError, ProgressCallback};
use crate::storage::backup::CopyRun;
use crate::storage::{StoreErrorKind, check_copy};
use crate::view::BackupCheckView;

/// Checks the backup in `folder`.
///
/// # Errors
/// The check could not be completed. What is wrong with the backup is part of the result.
pub(crate) async fn verify_backup(
    folder: &Path,
    progress: ProgressCallback<'_>,
    stop: &CancellationToken,
) -> Result<BackupCheckView, OperationError> {
    let run = Arc::new(CopyRun::new(u64::MAX, stop.clone()));
    let folder = folder.to_owned();
    let check = move |run: &CopyRun| match Manifest::read(&folder) {
        Ok(manifest) => check(&folder, &manifest, run),
        Err(problem) => Ok(BackupCheckView {
            folder: folder.display().to_string(),
            ok: false,
            taken_at: None,
            events: 0,
            files: 0,
            size_bytes: 0,
            problems: vec![problem],
            damaged_events: Vec::new(),
        }),
    };
    run_with_progress(&run, "bytes checked", progress, check).await
}

fn check(folder: &Path, manifest: &Manifest, run: &CopyRun) -> Result<BackupCheckView, OperationError> {
    // Every file is read once for its hash; bodies are read a second time for their digests.
    run.begin(manifest.size_bytes() + manifest.counts.body_bytes);
    let mut problems = check_files(folder, manifest, run)?;
    // A store whose files differ is not opened: opening it tells nothing more, and might fail.
    if problems.is_empty() {
        problems.extend(check_store(folder, manifest, run)?);
    }
    Ok(BackupCheckView {
        folder: folder.display().to_string(),
        ok: problems.is_empty(),
        taken_at: Some(manifest.taken_at.clone()),
        events: manifest.counts.events,
        files: manifest.files.len() as u64,
        size_bytes: manifest.size_bytes(),
        problems,
        damaged_events: manifest.damaged_events.clone(),
    })
}

fn check_files(folder: &Path, manifest: &Manifest, run: &CopyRun) -> Result<Vec<String>, OperationError> {
    let found: BTreeSet<_> = list_files(folder)?.into_iter().collect();
    let mut problems = Vec::new();
    for expected in &manifest.files {
        let path = &expected.path;
        if !found.contains(path) {
            problems.push(format!("{path} is missing"));
            continue;
        }
        match hash_file(folder, path, run) {
            Ok(file) if file == *expected => {}
            Ok(file) if file.size_bytes != expected.size_bytes => {
                let (found, expected) = (file.size_bytes, expected.size_bytes);
                problems.push(format!("{path} has {found} bytes instead of {expected}"));
            }
            Ok(_) => problems.push(format!("{path} is damaged: its SHA-256 is not that of the manifest")),
            Err(OperationError::Io(error)) => problems.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    let expected: BTreeSet<_> = manifest.files.iter().map(|file| file.path.clone()).collect();
    problems.extend(found.difference(&expected).map(|path| format!("{path} does not belong to the backup")));
    Ok(problems)
}

fn check_store(folder: &Path, manifest: &Manifest, run: &CopyRun) -> Result<Vec<String>, OperationError> {
    let found = match check_copy(folder, run) {
        Ok(found) => found,
        Err(error) if error.kind() == StoreErrorKind::Unavailable && run.is_stopped() => return Err(error.into()),
        Err(error) => return Ok(vec![error.to_string()]),
    };
    let mut problems = found.problems;
    if problems.is_empty() && found.store_id != manifest.store_id {
        problems.push("the store is not the one of the manifest".to_owned());
    }
    if problems.is_empty() && found.counts != manifest.counts {
        let (found, expected) = (found.counts, manifest.counts);
        problems.push(format!(
            "the store has {} events and {} invocations instead of {} and {}",
            found.events, found.invocations, expected.events, expected.invocations
        ));
    }
    for (event, reason) in found.damaged_events {
        if !manifest.damaged_events.contains(&event) {
            problems.push(format!("event {event}: {reason}"));
        }
    }
    Ok(problems)
}
