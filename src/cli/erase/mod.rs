//! `erase`: takes one person's data out of everything the receiver keeps.

mod files;
mod receipt;
mod search;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use self::files::Files;
use self::receipt::Receipt;
use self::search::Search;
use super::output::{self, Done, Failure};
use super::stores;
use crate::base::clock::Clock;
use crate::security::number::Number;
use crate::storage::sqlite::{Removal, SqliteUrl};

/// How long attempts under way may take to end before their events go.
const ATTEMPTS_END: Duration = Duration::from_secs(15);
/// How long it is tried to empty the log of the store.
const EMPTIED: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(200);
/// Events of the person that arrive meanwhile are erased too, so many times.
const ROUNDS: usize = 5;
/// A handler that had an event in hand has written its row, and the receiver its log lines, after so long.
const LATE: Duration = Duration::from_millis(1_500);

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("person").required(true)))]
pub(super) struct Erase {
    /// Everything about this call or chat
    #[arg(long, value_name = "ID", group = "person")]
    call: Option<String>,
    /// Everything about the calls and chats in which this number is, in whatever spelling: +12025550143
    #[arg(long, value_name = "NUMBER", group = "person")]
    phone: Option<Number>,
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

impl Erase {
    pub(super) async fn run(self) -> Done {
        if let Some(path) = self.receipt.as_ref().filter(|path| path.exists()) {
            return Err(Failure::Because(format!(
                "{} is there already: name another file for the receipt",
                path.display()
            )));
        }
        let settings = stores::settings()?;
        let mut removal = Removal::open(&SqliteUrl::parse(&settings.storage.url)?)?;
        let mut search = Search::new(&removal, self.call.as_deref(), self.phone.clone(), self.company.as_deref())?;
        search.look(&removal)?;
        let files = Files::of(&settings);
        let mut receipt = Receipt::new(&self, &settings, Clock::system().now_ms());
        receipt.note_given(removal.given_to(&search.seqs)?);
        if self.yes {
            self.erase(&mut removal, &mut search, &files, &mut receipt).await?;
        } else {
            receipt.erased = removal.count(&search.person, &search.seqs)?;
            receipt.lines = files.lines(&search.person, true, &mut receipt.failed);
        }
        receipt.unreadable = search.unreadable;
        receipt.write(self.receipt.as_deref())?;
        if self.json { output::json(&receipt.json()) } else { receipt.text() }?;
        if receipt.is_complete() { Ok(()) } else { Err(Failure::Said) }
    }

    async fn erase(&self, removal: &mut Removal, search: &mut Search, files: &Files, receipt: &mut Receipt) -> Done {
        for _ in 0..ROUNDS {
            receipt.note_given(removal.given_to(&search.seqs)?);
            receipt.under_way = end_attempts(removal, search, receipt).await?;
            receipt.note_given(removal.given_to(&search.seqs)?);
            let progress = search::progress("erased", search.seqs.len() as u64);
            let now_ms = Clock::system().now_ms();
            receipt.erased += removal.erase_events(&search.seqs, now_ms, |done| progress.inc(done as u64))?;
            progress.finish_and_clear();
            receipt.erased += removal.erase_rows(&search.person)?;
            tokio::time::sleep(LATE).await;
            search.look_again(removal)?;
            if search.seqs.is_empty() {
                break;
            }
        }
        // What a handler wrote about an event that it had in hand.
        receipt.erased += removal.erase_rows(&search.person)?;
        receipt.emptied = empty(removal).await?;
        receipt.lines = files.lines(&search.person, false, &mut receipt.failed);
        tokio::time::sleep(LATE).await;
        let late = files.lines(&search.person, false, &mut receipt.failed);
        receipt.lines += late;
        Ok(())
    }
}

/// Cancels what waits and gives what is under way some time; says how much still is.
async fn end_attempts(removal: &mut Removal, search: &Search, receipt: &mut Receipt) -> Result<u64, Failure> {
    let seqs: Vec<i64> = search.seqs.iter().copied().collect();
    let began = std::time::Instant::now();
    loop {
        let (cancelled, under_way) = removal.cancel(&seqs, Clock::system().now_ms())?;
        receipt.erased.cancelled_deliveries += cancelled;
        if under_way == 0 || began.elapsed() > ATTEMPTS_END {
            return Ok(under_way);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn empty(removal: &mut Removal) -> Result<bool, Failure> {
    let began = std::time::Instant::now();
    while !removal.leave_no_copy()? {
        if began.elapsed() > EMPTIED {
            return Ok(false);
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(true)
}
