//! The increase of a monotonic count within the last minute. Pure.

use std::collections::VecDeque;

const MINUTE_MS: i64 = 60_000;
/// Maximum number of remembered samples; with more samples per minute the window is shorter than a minute.
const MAX_SAMPLES: usize = 600;

#[derive(Debug, Default)]
pub(super) struct MinuteRate(VecDeque<(i64, u64)>);

impl MinuteRate {
    /// Records the current `total`; returns its increase within the last minute.
    pub(super) fn record_total(&mut self, total: u64, now_ms: i64) -> u64 {
        // The clock was set back: samples from the future would never leave the window.
        self.0.retain(|(at_ms, _)| *at_ms <= now_ms);
        self.0.push_back((now_ms, total));
        // The last sample before the window stays, so the window is slightly longer than a minute rather than shorter:
        // an increase between two samples is never lost.
        while self.0.len() > MAX_SAMPLES
            || self.0.get(1).is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= MINUTE_MS)
        {
            self.0.pop_front();
        }
        self.0.front().map_or(0, |(_, first_total)| total.saturating_sub(*first_total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minute_counts() {
        let mut rate = MinuteRate::default();
        assert_eq!(rate.record_total(1_000, 0), 0, "the total before the first sample does not count");
        assert_eq!(rate.record_total(1_010, 15_000), 10);
        assert_eq!(rate.record_total(1_030, 60_000), 30);
        assert_eq!(rate.record_total(1_030, 75_000), 20);
        assert_eq!(rate.record_total(1_030, 120_000), 0);
        for at in 0..5_000 {
            rate.record_total(2_000, 130_000 + at);
        }
        assert!(rate.0.len() <= MAX_SAMPLES);
        assert_eq!(rate.record_total(2_500, 0), 0, "the clock was set back, and nothing is known of the last minute");
        assert_eq!(rate.record_total(2_510, 15_000), 10);
    }
}
