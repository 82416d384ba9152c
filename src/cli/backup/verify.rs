//! `backup verify`.

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::stop_on_signal;
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::progress::draw_progress;
use crate::operations::backup::verify_backup;
use crate::view::BackupCheckView;

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyBackupArgs {
    /// Folder of the backup, as printed when it was made
    #[arg(value_name = "BACKUP")]
    folder: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl VerifyBackupArgs {
    pub(super) async fn run(self) -> CliResult {
        let stop = CancellationToken::new();
        let mut progress = draw_progress();
        let check = stop_on_signal(&stop, verify_backup(&self.folder, &mut progress, &stop)).await??;
        drop(progress);
        if self.json { output::print_json(&check) } else { print_text(&check) }?;
        if check.ok { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

fn print_text(check: &BackupCheckView) -> CliResult {
    for problem in &check.problems {
        output::print_line(format!("DAMAGED  {}", output::escape_text(problem)))?;
    }
    for event in &check.damaged_events {
        output::print_line(format!("the body of {event} was damaged or missing when the backup was made"))?;
    }
    if !check.ok {
        return output::print_line("the backup cannot be restored; use another one");
    }
    output::print_line(format!(
        "ok: {} events in {} files, {}, taken at {}",
        check.events,
        check.files,
        output::format_bytes(check.size_bytes),
        check.taken_at.as_deref().unwrap_or("an unknown time")
    ))
}
