//! How long operations report how far they are.

use tokio::sync::mpsc;

use crate::base::supervise::run_blocking;

/// How far a step of an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What has been done so far, such as `searched`.
    pub step: &'static str,
    pub done: u64,
    pub total: u64,
}

/// Receives the progress of an operation, more than once per step.
pub(crate) type ProgressCallback<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// Reports that wait for the terminal; more are dropped.
const PROGRESS_CAPACITY: usize = 16;

/// Runs `work` on a thread for blocking work and passes its progress on. `None` when the process is shutting down.
pub(crate) async fn run_blocking_with_progress<T: Send + 'static>(
    progress: ProgressCallback<'_>,
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> T + Send + 'static,
) -> Option<T> {
    let (sender, mut reports) = mpsc::channel(PROGRESS_CAPACITY);
    let running = run_blocking(move || {
        work(&mut |report| {
            let _ = sender.try_send(report);
        })
    });
    tokio::pin!(running);
    loop {
        tokio::select! {
            result = &mut running => return result,
            Some(report) = reports.recv() => progress(report),
        }
    }
}
