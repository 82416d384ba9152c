//! Removes old rows from the ledger, a few at a time, so that no invocation waits long for the write lock.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::supervise::Supervisor;
use crate::storage::InvocationStore;

const CLEANUP_INTERVAL: Duration = Duration::from_secs(30);
const CLEANUP_BATCH_ROWS: usize = 100;
/// How long an answer is available to a retry, and to `functions calls`: one day.
const INVOCATION_RETENTION_MS: i64 = 86_400_000;
/// Longer than `security.signature_tolerance_ms` can be: a signature must be known for as long as it verifies.
const SIGNATURE_RETENTION_MS: i64 = 3 * 3_600_000;

/// Starts the task. It ends when the service stops.
pub(super) fn start(ledger: Arc<dyn InvocationStore>, clock: Clock, supervisor: &Supervisor) {
    let stop = supervisor.clone();
    supervisor.spawn("invocations", async move {
        loop {
            let now_ms = clock.now_ms();
            let purged = ledger
                .purge_invocations(
                    now_ms - INVOCATION_RETENTION_MS,
                    now_ms - SIGNATURE_RETENTION_MS,
                    CLEANUP_BATCH_ROWS,
                )
                .await;
            // A full batch means that there is more to remove. An error is not logged here: the store reports that it
            // is unavailable once, and the next interval tries again.
            let wait = if purged.is_ok_and(|count| count >= CLEANUP_BATCH_ROWS) {
                Duration::from_millis(100)
            } else {
                CLEANUP_INTERVAL
            };
            tokio::select! {
                () = stop.wait_for_stop() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    });
}
