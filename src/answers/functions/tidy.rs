//! Removes what the ledger holds no longer: a few rows at a time, so that nobody waits for it.

use std::time::Duration;

use super::Parts;

const EVERY: Duration = Duration::from_secs(30);
const BATCH: usize = 100;
/// Answers can be asked for again for a day.
const KEPT_MS: i64 = 86_400_000;
/// Longer than any signature is accepted.
const SIGNATURES_KEPT_MS: i64 = 3 * 3_600_000;

pub(super) fn start(parts: &Parts) {
    let (ledger, clock, supervisor) = (parts.ledger.clone(), parts.clock.clone(), parts.supervisor.clone());
    parts.supervisor.spawn("invocations", async move {
        loop {
            let now_ms = clock.now_ms();
            let forgotten = ledger.forget_invocations(now_ms - KEPT_MS, now_ms - SIGNATURES_KEPT_MS, BATCH).await;
            // The store says by itself that it is away.
            let wait = if forgotten.is_ok_and(|count| count >= BATCH) { Duration::from_millis(100) } else { EVERY };
            tokio::select! {
                () = supervisor.stopping() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    });
}
