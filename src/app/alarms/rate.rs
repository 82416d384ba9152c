//! How much a count that only grows grew within the last minute. Pure.

use std::collections::VecDeque;

const MINUTE_MS: i64 = 60_000;
/// Looks that are remembered; with more in a minute it is a shorter one.
const MAX_SAMPLES: usize = 600;

#[derive(Debug, Default)]
pub(super) struct MinuteRate(VecDeque<(i64, u64)>);

impl MinuteRate {
    /// The count is `total` now.
    pub(super) fn record_total(&mut self, total: u64, now_ms: i64) -> u64 {
        self.0.push_back((now_ms, total));
        // The last look before the minute stays: the minute is a little longer rather than shorter.
        while self.0.len() > MAX_SAMPLES
            || self.0.get(1).is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= MINUTE_MS)
        {
            self.0.pop_front();
        }
        self.0.front().map_or(0, |(_, before)| total.saturating_sub(*before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_looked_at() {
        let mut rate = MinuteRate::default();
        assert_eq!(rate.record_total(1_000, 0), 0, "what was before the first look was long ago");
        assert_eq!(rate.record_total(1_010, 15_000), 10);
        assert_eq!(rate.record_total(1_030, 60_000), 30);
        assert_eq!(rate.record_total(1_030, 75_000), 20);
        assert_eq!(rate.record_total(1_030, 120_000), 0);
        for at in 0..5_000 {
            rate.record_total(2_000, 130_000 + at);
        }
        assert!(rate.0.len() <= MAX_SAMPLES);
    }
}
