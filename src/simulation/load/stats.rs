//! Statistics of a load.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The outcomes of the requests of one connection, or of all connections together.
#[derive(Clone, Debug, Default)]
pub struct LoadStats {
    /// Latency of every answered request.
    pub latency: LatencyHistogram,
    /// Number of 2xx responses, including those of the warm-up.
    pub accepted: u64,
    /// Number of 2xx responses between the warm-up and the end.
    pub accepted_in_window: u64,
    /// Sum of the sizes of the answered requests' bodies.
    pub body_bytes: u64,
    /// Number of requests that were not accepted, by status or reason.
    pub failures: BTreeMap<String, u64>,
}

/// When a response was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadPhase {
    WarmUp,
    Measured,
    /// The request was sent before the end.
    AfterEnd,
}

impl LoadStats {
    pub(super) fn record_response(&mut self, status: u16, body_bytes: usize, latency: Duration, phase: LoadPhase) {
        self.body_bytes += body_bytes as u64;
        if phase != LoadPhase::WarmUp {
            self.latency.record(latency);
        }
        if (200..300).contains(&status) {
            self.accepted += 1;
            self.accepted_in_window += u64::from(phase == LoadPhase::Measured);
        } else {
            self.record_failure(format!("status {status}"));
        }
    }

    pub(super) fn record_failure(&mut self, reason: String) {
        *self.failures.entry(reason).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.accepted += other.accepted;
        self.accepted_in_window += other.accepted_in_window;
        self.body_bytes += other.body_bytes;
        for (reason, count) in &other.failures {
            *self.failures.entry(reason.clone()).or_default() += count;
        }
    }

    /// Number of requests that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.accepted + self.failures.values().sum::<u64>()
    }
}

/// Latencies of up to a minute with three significant digits; longer ones count as a minute. Memory for single values
/// would grow with the rate.
#[derive(Clone, Debug, Default)]
pub struct LatencyHistogram(Option<Histogram<u32>>);

impl LatencyHistogram {
    /// Counts the latency of one request.
    pub fn record(&mut self, latency: Duration) {
        if self.0.is_none() {
            // Cannot fail: the bounds are valid.
            self.0 = Histogram::new_with_bounds(1, 60_000_000, 3).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// Adds the requests of another histogram.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            // Cannot fail: both histograms have the same bounds, so no value is out of range.
            (Some(all), Some(latency)) => drop(all.add(latency)),
            (None, latency) => self.0.clone_from(latency),
            (Some(_), None) => {}
        }
    }

    /// Whether no request was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The latency that the share `quantile` of the requests did not exceed, in milliseconds; 0 without requests.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        milliseconds(self.0.as_ref().map_or(0, |histogram| histogram.value_at_quantile(quantile)))
    }

    /// The longest latency in milliseconds; 0 without requests.
    pub fn max_ms(&self) -> f64 {
        milliseconds(self.0.as_ref().map_or(0, Histogram::max))
    }
}

#[allow(clippy::cast_precision_loss, reason = "a minute of microseconds is far below 2^52")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_connections_add_up() {
        let mut all = LoadStats::default();
        let mut one = LoadStats::default();
        (1..=100).for_each(|ms| one.record_response(200, 10, Duration::from_millis(ms), LoadPhase::Measured));
        one.record_response(200, 10, Duration::from_secs(9), LoadPhase::WarmUp);
        one.record_response(503, 10, Duration::from_secs(100), LoadPhase::AfterEnd);
        one.record_failure("no connection".to_owned());
        all.merge(&one);
        all.merge(&one);
        assert_eq!((all.accepted, all.accepted_in_window, all.body_bytes, all.sent()), (202, 200, 2_040, 206));
        assert_eq!(all.failures, BTreeMap::from([("no connection".to_owned(), 2), ("status 503".to_owned(), 2)]));
        let median = all.latency.quantile_ms(0.5);
        assert!((50.0..52.0).contains(&median) && all.latency.max_ms() >= 59_000.0, "{median}");
        assert!(all.latency.quantile_ms(0.98) < 1_000.0, "the warm-up is not measured");
    }
}
