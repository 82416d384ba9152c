//! `backup create`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::stop_on_signal;
use crate::base::clock::Clock;
use crate::cli::context;
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::progress::draw_progress;
use crate::operations::backup::{BackupRequest, BackupSchedule, create_backup, run_regular_backups};
use crate::storage::Role;
use crate::view::BackupView;

const MEGABYTE: u64 = 1_000_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// Folder that gets one subfolder per backup, named after its time in UTC; preferably on another disk
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Make a backup now and then at this interval, such as 1h or 15m, until stopped; everything since the last backup is
    /// lost with the store
    #[arg(long, value_name = "DURATION", value_parser = parse_interval)]
    every: Option<Duration>,
    /// Delete the oldest backups of this store in the folder when there are more than this
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    keep: Option<u32>,
    /// Megabytes copied per second; more disturbs a receiver on the same disk
    #[arg(long, value_name = "MB", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    max_rate: u64,
    /// Print JSON instead of text; with --every one object per line
    #[arg(long)]
    json: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    duration
        .filter(|duration| *duration >= Duration::from_secs(1))
        .ok_or_else(|| "not an interval of at least one second, such as 15m, 1h or 1d12h".to_owned())
}

impl CreateArgs {
    pub(super) async fn run(self) -> CliResult {
        let store = context::open_store_as(Role::Operator)?;
        let stop = CancellationToken::new();
        let request = BackupRequest {
            folder: self.folder,
            keep: self.keep.map(|keep| keep as usize),
            max_bytes_per_second: self.max_rate * MEGABYTE,
        };
        let clock = Clock::system();
        let mut progress = draw_progress();
        let Some(every) = self.every else {
            let work = create_backup(&*store, &clock, context::PRINCIPAL, &request, &mut progress, &stop);
            let backup = stop_on_signal(&stop, work).await??;
            drop(progress);
            if self.json { output::print_json(&backup) } else { print_text(&backup) }?;
            return if backup.damaged_events.is_empty() { Ok(()) } else { Err(CliError::AlreadyPrinted) };
        };
        let schedule = BackupSchedule { every, backup: request };
        let json = self.json;
        let report = |backup| match backup {
            Ok(backup) if json => drop(output::json_line(&backup).map(output::print_line)),
            Ok(backup) => drop(print_text(&backup)),
            Err(error) => output::print_error(format!("retell-webhook: backup failed: {error}")),
        };
        let work = run_regular_backups(&*store, &clock, context::PRINCIPAL, &schedule, report, &mut progress, &stop);
        let succeeded = stop_on_signal(&stop, work).await?;
        if succeeded { Ok(()) } else { Err(CliError::AlreadyPrinted) }
    }
}

fn print_text(backup: &BackupView) -> CliResult {
    output::print_line(format!(
        "{}: {} events, {} invocations, {} in {:.1} s",
        backup.folder,
        backup.events,
        backup.invocations,
        output::format_bytes(backup.size_bytes),
        backup.seconds
    ))?;
    if backup.removed_events > 0 {
        output::print_line(format!("{} events were removed by retention meanwhile", backup.removed_events))?;
    }
    for event in &backup.damaged_events {
        output::print_line(format!("DAMAGED in the store already: the body of {event}"))?;
    }
    for folder in &backup.deleted_backups {
        output::print_line(format!("deleted {folder}"))?;
    }
    Ok(())
}
