//! `erase`: takes one person's data out of everything the receiver keeps.

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
use crate::security::phone_number::PhoneNumber;
use crate::storage::sqlite::{OperatorRemoval, SqliteUrl};

/// How long attempts under way may take to end before their events go.
const ATTEMPT_END_TIMEOUT: Duration = Duration::from_secs(15);
/// How long it is tried to empty the log of the store.
const STORE_CLEAR_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Events of the person that arrive meanwhile are erased too, so many times.
const MAX_ERASE_PASSES: usize = 5;
/// A handler that had an event in hand has written its row, and the receiver its log lines, after so long.
const LATE_WRITE_GRACE: Duration = Duration::from_millis(1_500);

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("person").required(true)))]
pub(super) struct EraseArgs {
    /// Everything about this call or chat
    #[arg(long, value_name = "ID", group = "person")]
    call: Option<String>,
    /// Everything about the calls and chats in which this number is, in whatever spelling: +12025550143
    #[arg(long, value_name = "NUMBER", group = "person")]
    phone: Option<PhoneNumber>,
    /// Only what belongs to this company
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Only count (what happens without --yes too)
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Erase it; there is no way back
    #[arg(long)]
    yes: bool,
    /// Write the receipt to this file too; it names nobody
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl EraseArgs {
    pub(super) async fn run(self) -> CliResult {
        if let Some(path) = self.receipt.as_ref().filter(|path| path.exists()) {
            return Err(CliError::Message(format!(
                "{} is there already: name another file for the receipt",
                path.display()
            )));
        }
        let settings = context::load_settings()?;
        let mut removal = OperatorRemoval::open(&SqliteUrl::parse(&settings.storage.url)?)?;
        let mut search =
            PersonSearch::new(&removal, self.call.as_deref(), self.phone.clone(), self.company.as_deref())?;
        search.run(&removal)?;
        let files = ErasableFiles::from_settings(&settings);
        let mut receipt = EraseReceipt::new(&self, &settings, Clock::system().now_ms());
        receipt.add_delivered_events(removal.list_recipients(&search.seqs)?);
        if self.yes {
            self.erase(&mut removal, &mut search, &files, &mut receipt).await?;
        } else {
            receipt.erased = removal.count_erasable(&search.person, &search.seqs)?;
            receipt.erased_lines = files.overwrite_lines(&search.person, true, &mut receipt.failed_files);
        }
        receipt.unreadable_bodies = search.unreadable_bodies;
        receipt.write_to_file(self.receipt.as_deref())?;
        if self.json { output::print_json(&receipt.to_json()) } else { receipt.print_text() }?;
        if receipt.is_complete() { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }

    async fn erase(
        &self,
        removal: &mut OperatorRemoval,
        search: &mut PersonSearch,
        files: &ErasableFiles,
        receipt: &mut EraseReceipt,
    ) -> CliResult {
        for _ in 0..MAX_ERASE_PASSES {
            receipt.add_delivered_events(removal.list_recipients(&search.seqs)?);
            receipt.running_attempts = cancel_and_wait_for_attempts(removal, search, receipt).await?;
            receipt.add_delivered_events(removal.list_recipients(&search.seqs)?);
            let progress = search::erase_progress_bar("erased", search.seqs.len() as u64);
            let now_ms = Clock::system().now_ms();
            receipt.erased += removal.erase_events(&search.seqs, now_ms, |done| progress.inc(done as u64))?;
            progress.finish_and_clear();
            receipt.erased += removal.erase_related_rows(&search.person)?;
            tokio::time::sleep(LATE_WRITE_GRACE).await;
            search.run_again(removal)?;
            if search.seqs.is_empty() {
                break;
            }
        }
        // What a handler wrote about an event that it had in hand.
        receipt.erased += removal.erase_related_rows(&search.person)?;
        receipt.store_files_cleared = clear_store_files(removal).await?;
        receipt.erased_lines = files.overwrite_lines(&search.person, false, &mut receipt.failed_files);
        tokio::time::sleep(LATE_WRITE_GRACE).await;
        let late = files.overwrite_lines(&search.person, false, &mut receipt.failed_files);
        receipt.erased_lines += late;
        Ok(())
    }
}

/// Cancels what waits and gives what is under way some time; says how much still is.
async fn cancel_and_wait_for_attempts(
    removal: &mut OperatorRemoval,
    search: &PersonSearch,
    receipt: &mut EraseReceipt,
) -> Result<u64, CliError> {
    let seqs: Vec<i64> = search.seqs.iter().copied().collect();
    let began = std::time::Instant::now();
    loop {
        let (cancelled, under_way) = removal.cancel_deliveries(&seqs, Clock::system().now_ms())?;
        receipt.erased.cancelled_deliveries += cancelled;
        if under_way == 0 || began.elapsed() > ATTEMPT_END_TIMEOUT {
            return Ok(under_way);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn clear_store_files(removal: &mut OperatorRemoval) -> Result<bool, CliError> {
    let began = std::time::Instant::now();
    while !removal.scrub_files()? {
        if began.elapsed() > STORE_CLEAR_TIMEOUT {
            return Ok(false);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(true)
}
