//! Counts of what happened to requests since start. Complete, whatever the log leaves out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every count there is; the label is the index.
const LABELS: [&str; 15] = [
    "stored",
    "duplicate",
    "revision",
    "unparsed",
    "not_stored",
    "not_on_allowlist",
    "missing",
    "malformed",
    "stale_past",
    "stale_future",
    "no_key_matched",
    "too_large",
    "body_timeout",
    "cut_off",
    "no_room",
];

/// Counters of one receiver. Not global: two receivers in a process count apart.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; LABELS.len()]);

impl Counters {
    /// Counts one. A label that does not exist is a programming error, and ignored.
    pub fn count(&self, label: &str) {
        if let Some(at) = LABELS.iter().position(|known| *known == label) {
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All counts by label: accepted events (`stored`, `duplicate`, `revision`, `unparsed`), events that could not be
    /// kept (`not_stored`), refused requests by reason, requests whose body could not be taken in by reason.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        LABELS.iter().zip(&self.0).map(|(label, count)| (*label, count.load(Ordering::Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Counters;
    use crate::security::signature::Refusal;

    #[test]
    fn every_refusal_has_a_counter() {
        let counters = Counters::default();
        let refusals =
            [Refusal::Missing, Refusal::Malformed, Refusal::Stale(1), Refusal::Stale(-1), Refusal::NoKeyMatched];
        for refusal in refusals {
            counters.count(refusal.label());
            assert_eq!(counters.snapshot()[refusal.label()], 1);
        }
    }
}
