//! Removes one person's data from everything that the receiver stores.
//!
//! A receiver may be running meanwhile: it can store events of the person, finish attempts and write log lines during
//! the erasure. So the search and the erasure are repeated until a pass finds nothing, and files are overwritten
//! twice.

mod files;
mod logged;
mod report;
mod search;

use std::path::Path;
use std::time::Duration;

use self::files::ErasableFiles;
use self::report::ErasureReport;
use self::search::PersonSearch;
use super::{OperationError, Principal, Progress, ProgressCallback};
use crate::base::clock::Clock;
use crate::config::Settings;
use crate::privacy::phone_number::PhoneNumber;
use crate::storage::backup::{BackupRecord, BackupStore, ErasureLogWriter};
use crate::storage::{CompanyStore, ErasureCounts, ErasureStore, Journal, MAX_ERASED_EVENTS, Seq, StoreErrorKind};
use crate::view::ErasureView;

/// Time that running attempts get to end before their events are erased.
const ATTEMPT_END_TIMEOUT: Duration = Duration::from_secs(15);
/// Time during which clearing the write-ahead log is retried; every reader of the store delays it.
const STORE_CLEAR_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Passes over events of the person that arrive during the erasure; a call in progress would otherwise never end it.
const MAX_ERASE_PASSES: usize = 5;
/// Within this time a handler that already had an event has written its row, and the receiver its log lines.
const LATE_WRITE_GRACE: Duration = Duration::from_millis(1_500);

/// The facets that an erasure needs.
pub(crate) use self::logged::erase_logged_persons;

pub(crate) trait ErasableStore: ErasureStore + CompanyStore + Journal + BackupStore {}

impl<S: ErasureStore + CompanyStore + Journal + BackupStore + ?Sized> ErasableStore for S {}

#[derive(Clone, Debug)]
pub(crate) enum ErasureSubject {
    /// Everything about the call or chat with this id.
    Call(String),
    /// Everything about all calls and chats with this number.
    Phone(PhoneNumber),
}

pub(crate) struct ErasureRequest {
    pub subject: ErasureSubject,
    /// The slug of the only company whose data is erased.
    pub company: Option<String>,
    /// Only counts rows and lines.
    pub dry_run: bool,
}

/// Erases the data of a person, in the store and in the log and handler files of `settings`.
pub(crate) async fn erase(
    store: &(impl ErasableStore + ?Sized),
    settings: &Settings,
    clock: &Clock,
    principal: &Principal,
    request: &ErasureRequest,
    progress: ProgressCallback<'_>,
) -> Result<ErasureView, OperationError> {
    let mut search = PersonSearch::new(store, request).await?;
    search.run(store, progress).await?;
    let files = ErasableFiles::from_settings(settings);
    let mut report = ErasureReport::new(request, settings, clock.now_ms());
    report.add_delivered_events(store.list_recipients(search.seqs.clone()).await?);
    report.unreached_backups = list_existing_backups(store).await?;
    if request.dry_run {
        report.erased = store.count_erasable(search.person.clone(), search.seqs.clone()).await?;
        report.erased_lines = files.overwrite_lines(&search.person, true, &mut report.failed_files, progress).await;
    } else {
        tracing::info!(%principal, events = search.seqs.len(), "erasing the data of a person");
        // Before anything is erased, and locked until the end: a backup that is being made begins again afterwards.
        let mut log = open_erasure_log(store, clock, &mut report).await?;
        log_person(log.as_mut(), &search, clock, &mut report);
        erase_found(store, clock, &mut search, &mut report, log.as_mut(), progress).await?;
        overwrite_files(&files, &search, &mut report, progress).await;
    }
    report.unreadable_bodies = search.unreadable_bodies;
    report.unsearchable_files = store.list_unsearchable_files().await?;
    Ok(report.into_view())
}

async fn erase_found(
    store: &(impl ErasableStore + ?Sized),
    clock: &Clock,
    search: &mut PersonSearch,
    report: &mut ErasureReport,
    mut log: Option<&mut ErasureLogWriter>,
    progress: ProgressCallback<'_>,
) -> Result<(), OperationError> {
    for _ in 0..MAX_ERASE_PASSES {
        report.add_delivered_events(store.list_recipients(search.seqs.clone()).await?);
        report.running_attempts = cancel_and_wait_for_attempts(store, clock, search, report).await?;
        report.add_delivered_events(store.list_recipients(search.seqs.clone()).await?);
        report.erased += erase_events(store, clock, search, progress).await?;
        report.erased += store.erase_related_rows(search.person.clone()).await?;
        tokio::time::sleep(LATE_WRITE_GRACE).await;
        search.run_again(store, progress).await?;
        log_person(log.as_deref_mut(), search, clock, report);
        if search.seqs.is_empty() {
            break;
        }
    }
    // Rows that a handler wrote about an event it had received before the event was erased.
    report.erased += store.erase_related_rows(search.person.clone()).await?;
    report.store_files_cleared = clear_store_files(store).await?;
    Ok(())
}

async fn erase_events(
    store: &(impl ErasableStore + ?Sized),
    clock: &Clock,
    search: &PersonSearch,
    progress: ProgressCallback<'_>,
) -> Result<ErasureCounts, OperationError> {
    let now_ms = clock.now_ms();
    let seqs: Vec<Seq> = search.seqs.iter().copied().collect();
    let mut erased = ErasureCounts::default();
    let mut done = 0;
    for part in seqs.chunks(MAX_ERASED_EVENTS) {
        erased += store.erase_events(part.to_vec(), now_ms).await?;
        done += part.len() as u64;
        progress(Progress { step: "erased", done, total: seqs.len() as u64 });
    }
    Ok(erased)
}

/// Opens the erasure log. If it cannot be written, the erasure is carried out and the receipt says that it is not complete.
async fn open_erasure_log(
    store: &(impl ErasableStore + ?Sized),
    clock: &Clock,
    report: &mut ErasureReport,
) -> Result<Option<ErasureLogWriter>, OperationError> {
    match store.open_erasure_log(clock.now_ms()).await {
        Ok(log) => Ok(Some(log)),
        Err(error) if error.kind() == StoreErrorKind::Busy => Err(error.into()),
        Err(error) => {
            report.not_logged = Some(error.to_string());
            Ok(None)
        }
    }
}

fn log_person(log: Option<&mut ErasureLogWriter>, search: &PersonSearch, clock: &Clock, report: &mut ErasureReport) {
    if let Some(Err(error)) = log.map(|log| log.append(&search.person, clock.now_ms())) {
        report.not_logged = Some(error.to_string());
    }
}

/// The recorded backups that exist. They contain the person.
async fn list_existing_backups(store: &(impl ErasableStore + ?Sized)) -> Result<Vec<BackupRecord>, OperationError> {
    let mut backups = store.list_backups().await?;
    backups.retain(|backup| Path::new(&backup.folder).exists());
    Ok(backups)
}

async fn overwrite_files(
    files: &ErasableFiles,
    search: &PersonSearch,
    report: &mut ErasureReport,
    progress: ProgressCallback<'_>,
) {
    report.erased_lines = files.overwrite_lines(&search.person, false, &mut report.failed_files, progress).await;
    tokio::time::sleep(LATE_WRITE_GRACE).await;
    let late = files.overwrite_lines(&search.person, false, &mut report.failed_files, progress).await;
    report.erased_lines += late;
}

/// Cancels waiting deliveries, waits for running attempts to end, and returns how many are still running.
///
/// An attempt that still runs could write about an erased event, so the receipt reports it as incomplete.
async fn cancel_and_wait_for_attempts(
    store: &(impl ErasableStore + ?Sized),
    clock: &Clock,
    search: &PersonSearch,
    report: &mut ErasureReport,
) -> Result<u64, OperationError> {
    let seqs: Vec<Seq> = search.seqs.iter().copied().collect();
    let started = std::time::Instant::now();
    loop {
        let (cancelled, running) = store.cancel_deliveries(seqs.clone(), clock.now_ms()).await?;
        report.erased.cancelled_deliveries += cancelled;
        if running == 0 || started.elapsed() > ATTEMPT_END_TIMEOUT {
            return Ok(running);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Whether no copy of the erased data is left in the files of the store.
async fn clear_store_files(store: &(impl ErasableStore + ?Sized)) -> Result<bool, OperationError> {
    let started = std::time::Instant::now();
    while !store.finish_erasure().await? {
        if started.elapsed() > STORE_CLEAR_TIMEOUT {
            return Ok(false);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}
