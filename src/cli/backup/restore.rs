//! `backup restore`.

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::stop_on_signal;
use crate::base::clock::Clock;
use crate::cli::context;
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::progress::draw_progress;
use crate::operations::backup::{RestoreRequest, restore_backup};
use crate::view::{ReappliedErasuresView, RestoreView};

#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// Folder of the backup, as printed when it was made
    #[arg(value_name = "BACKUP")]
    folder: PathBuf,
    /// Rename the files of the store that is at `storage.url` now; nothing is deleted
    #[arg(long)]
    move_aside: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl RestoreArgs {
    pub(super) async fn run(self) -> CliResult {
        let settings = context::load_settings()?;
        let stop = CancellationToken::new();
        let request = RestoreRequest { backup: self.folder, move_aside: self.move_aside };
        let (url, clock) = (&settings.storage.url, Clock::system());
        let mut progress = draw_progress();
        let work = restore_backup(url, &clock, context::PRINCIPAL, &request, &mut progress, &stop);
        let restored = stop_on_signal(&stop, work).await??;
        drop(progress);
        if self.json { output::print_json(&restored) } else { print_text(&restored) }?;
        if restored.erasures.complete { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

fn print_text(restored: &RestoreView) -> CliResult {
    let RestoreView { store, taken_at, events, moved_aside, erasures } = restored;
    output::print_line(format!("restored {store} as of {taken_at}: {events} events"))?;
    if let Some(path) = moved_aside {
        output::print_line(format!("the store that was there is now {path}"))?;
    }
    let ReappliedErasuresView { log_entries, events, calls, rejected, invocations, appointments, .. } = erasures;
    if *log_entries > 0 {
        output::print_line(format!(
            "erased again: {events} events, {calls} calls and chats, {rejected} rejected requests, {invocations} \
             invocations, {appointments} appointments"
        ))?;
    }
    for gap in &erasures.not_reapplied {
        output::print_line(format!("NOT ERASED AGAIN: {gap}"))?;
    }
    output::print_line("deliveries that were made after that time will be made again")
}
