//! `erase`: removes one person's data from everything that the receiver stores.
//!
//! A receiver may be running meanwhile: it can store events of the person, finish attempts and write log lines during
//! the erasure. So the search and the erasure are repeated until a pass finds nothing, and files are overwritten
//! twice.

mod files;
mod receipt;
mod search;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use self::files::ErasableFiles;
use self::receipt::EraseReceipt;
use self::search::PersonSearch;
use super::context;
use super::output::{self, CliError, CliResult};
use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::privacy::phone_number::PhoneNumber;
use crate::storage::{self, MAX_ERASED_EVENTS, Role, Store};

/// Time that running attempts get to end before their events are erased.
const ATTEMPT_END_TIMEOUT: Duration = Duration::from_secs(15);
/// Time during which clearing the write-ahead log is retried; every reader of the store delays it.
const STORE_CLEAR_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Passes over events of the person that arrive during the erasure; a call in progress would otherwise never end it.
const MAX_ERASE_PASSES: usize = 5;
/// Within this time a handler that already had an event has written its row, and the receiver its log lines.
const LATE_WRITE_GRACE: Duration = Duration::from_millis(1_500);

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("person").required(true)))]
pub(super) struct EraseArgs {
    /// Erase everything about this call or chat
    #[arg(long, value_name = "ID", group = "person")]
    call: Option<String>,
    /// Erase everything about calls and chats with this number, in any spelling: +12025550143
    #[arg(long, value_name = "NUMBER", group = "person")]
    phone: Option<PhoneNumber>,
    /// Erase only data of the company with this slug
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only count, which is also what happens without --yes
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Erase the data; this cannot be undone
    #[arg(long)]
    yes: bool,
    /// Also write the receipt to this file; it does not name the person
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl EraseArgs {
    pub(super) async fn run(self) -> CliResult {
        if let Some(path) = self.receipt.as_ref().filter(|path| path.exists()) {
            return Err(CliError::Message(format!(
                "--receipt {}: the file exists already; name another file for the receipt",
                path.display()
            )));
        }
        let settings = context::load_settings()?;
        let store = storage::open(&settings.storage.url, Role::Operator, &Supervisor::default())?;
        let mut search =
            PersonSearch::new(&*store, self.call.as_deref(), self.phone.clone(), self.company.as_deref()).await?;
        search.run(&*store).await?;
        let files = ErasableFiles::from_settings(&settings);
        let mut receipt = EraseReceipt::new(&self, &settings, Clock::system().now_ms());
        receipt.add_delivered_events(store.list_recipients(search.seqs.clone()).await?);
        if self.yes {
            self.erase(&*store, &mut search, &files, &mut receipt).await?;
        } else {
            receipt.erased = store.count_erasable(search.person.clone(), search.seqs.clone()).await?;
            receipt.erased_lines = files.overwrite_lines(&search.person, true, &mut receipt.failed_files);
        }
        receipt.unreadable_bodies = search.unreadable_bodies;
        receipt.write_to_file(self.receipt.as_deref())?;
        if self.json { output::print_json(&receipt.to_json()) } else { receipt.print_text() }?;
        if receipt.is_complete() { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }

    async fn erase(
        &self,
        store: &dyn Store,
        search: &mut PersonSearch,
        files: &ErasableFiles,
        receipt: &mut EraseReceipt,
    ) -> CliResult {
        for _ in 0..MAX_ERASE_PASSES {
            receipt.add_delivered_events(store.list_recipients(search.seqs.clone()).await?);
            receipt.running_attempts = cancel_and_wait_for_attempts(store, search, receipt).await?;
            receipt.add_delivered_events(store.list_recipients(search.seqs.clone()).await?);
            let progress = search::erase_progress_bar("erased", search.seqs.len() as u64);
            let now_ms = Clock::system().now_ms();
            let seqs: Vec<i64> = search.seqs.iter().copied().collect();
            for part in seqs.chunks(MAX_ERASED_EVENTS) {
                receipt.erased += store.erase_events(part.to_vec(), now_ms).await?;
                progress.inc(part.len() as u64);
            }
            progress.finish_and_clear();
            receipt.erased += store.erase_related_rows(search.person.clone()).await?;
            tokio::time::sleep(LATE_WRITE_GRACE).await;
            search.run_again(store).await?;
            if search.seqs.is_empty() {
                break;
            }
        }
        // Rows that a handler wrote about an event it had received before the event was erased.
        receipt.erased += store.erase_related_rows(search.person.clone()).await?;
        receipt.store_files_cleared = clear_store_files(store).await?;
        receipt.erased_lines = files.overwrite_lines(&search.person, false, &mut receipt.failed_files);
        tokio::time::sleep(LATE_WRITE_GRACE).await;
        let late = files.overwrite_lines(&search.person, false, &mut receipt.failed_files);
        receipt.erased_lines += late;
        Ok(())
    }
}

/// Cancels waiting deliveries, waits for running attempts to end, and returns how many are still running.
///
/// An attempt that still runs could write about an erased event, so the receipt reports it as incomplete.
async fn cancel_and_wait_for_attempts(
    store: &dyn Store,
    search: &PersonSearch,
    receipt: &mut EraseReceipt,
) -> Result<u64, CliError> {
    let seqs: Vec<i64> = search.seqs.iter().copied().collect();
    let started = std::time::Instant::now();
    loop {
        let (cancelled, running) = store.cancel_deliveries(seqs.clone(), Clock::system().now_ms()).await?;
        receipt.erased.cancelled_deliveries += cancelled;
        if running == 0 || started.elapsed() > ATTEMPT_END_TIMEOUT {
            return Ok(running);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Whether no copy of the erased data is left in the files of the store.
async fn clear_store_files(store: &dyn Store) -> Result<bool, CliError> {
    let started = std::time::Instant::now();
    while !store.finish_erasure().await? {
        if started.elapsed() > STORE_CLEAR_TIMEOUT {
            return Ok(false);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}
