//! `backup`: makes, checks and restores copies of the store.

mod create;
mod restore;
mod verify;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use super::output::CliResult;
use crate::app::shutdown_signal;

#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Make a backup while the receiver runs, once or regularly
    Create(create::CreateArgs),
    /// Check a backup: every file, the databases, and the digest of every body; exit code 1 if anything is wrong
    Verify(verify::VerifyBackupArgs),
    /// Restore a backup to `storage.url`, and erase again who was erased since then; the receiver must be stopped
    Restore(restore::RestoreArgs),
}

impl BackupCommand {
    pub(super) async fn run(self) -> CliResult {
        match self {
            Self::Create(create) => create.run().await,
            Self::Verify(verify) => verify.run().await,
            Self::Restore(restore) => restore.run().await,
        }
    }
}

/// Runs `work` to its end. The first Ctrl-C or SIGTERM cancels `stop`, and `work` then ends early.
async fn stop_on_signal<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Result<T, std::io::Error> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        result = &mut work => return Ok(result),
        () = shutdown_signal()? => stop.cancel(),
    }
    Ok(work.await)
}
