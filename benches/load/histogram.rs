//! Latencies of requests.

#![allow(clippy::unwrap_used, reason = "all histograms have the same, valid bounds")]

/// Latencies of up to a minute with three significant digits. Memory for single values would grow with the rate, and
/// the rate differs between the compared servers.
#[derive(Clone, Debug)]
pub struct Histogram(hdrhistogram::Histogram<u32>);

impl Default for Histogram {
    fn default() -> Self {
        Self(hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 3).unwrap())
    }
}

impl Histogram {
    pub fn record(&mut self, micros: u32) {
        self.0.saturating_record(micros.into());
    }

    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).unwrap();
    }

    /// The latency in microseconds that `per_mille` of 1000 requests did not exceed.
    pub fn quantile(&self, per_mille: u32) -> u32 {
        to_micros(self.0.value_at_quantile(f64::from(per_mille) / 1000.0))
    }

    pub fn max(&self) -> u32 {
        to_micros(self.0.max())
    }
}

fn to_micros(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
