//! Removes what the ledger holds no longer: a few rows at a time, so that nobody waits for it.

use std::time::Duration;

use super::FunctionDeps;

const CLEANUP_INTERVAL: Duration = Duration::from_secs(30);
const CLEANUP_BATCH_ROWS: usize = 100;
/// Answers can be asked for again for a day.
const INVOCATION_RETENTION_MS: i64 = 86_400_000;
/// Longer than any signature is accepted.
const SIGNATURE_RETENTION_MS: i64 = 3 * 3_600_000;

pub(super) fn start(parts: &FunctionDeps) {
    let (ledger, clock, supervisor) = (parts.ledger.clone(), parts.clock.clone(), parts.supervisor.clone());
    parts.supervisor.spawn("invocations", async move {
        loop {
            let now_ms = clock.now_ms();
            let forgotten = ledger
                .purge_invocations(
                    now_ms - INVOCATION_RETENTION_MS,
                    now_ms - SIGNATURE_RETENTION_MS,
                    CLEANUP_BATCH_ROWS,
                )
                .await;
            // The store says by itself that it is away.
            let wait = if forgotten.is_ok_and(|count| count >= CLEANUP_BATCH_ROWS) {
                Duration::from_millis(100)
            } else {
                CLEANUP_INTERVAL
            };
            tokio::select! {
                () = supervisor.wait_for_stop() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    });
}
