//! Histograms that are recorded without locks and without allocation.

use std::sync::atomic::{AtomicU64, Ordering};

/// A histogram of whole numbers with fixed bounds. Recording a value takes two atomic additions.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    /// One counter per bound, and one for all values above the last bound.
    bucket_counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// The counts of a histogram at one point in time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramCounts {
    /// Upper bounds (inclusive), each with the number of values between it and the next lower bound.
    pub buckets: Vec<(u64, u64)>,
    /// Number of values above the last bound.
    pub overflow: u64,
    /// The sum of all recorded values.
    pub sum: u64,
}

impl Histogram {
    /// Creates an empty histogram. The upper bounds are inclusive and in ascending order.
    #[must_use]
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, bucket_counts: counts, sum: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        // Relaxed: a reader may see the count without the sum, which a metric tolerates.
        self.bucket_counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    #[must_use]
    pub(crate) fn counts(&self) -> HistogramCounts {
        let counts = self.bucket_counts.iter().map(|count| count.load(Ordering::Relaxed));
        let overflow = self.bucket_counts.last().map_or(0, |count| count.load(Ordering::Relaxed));
        let buckets = self.bounds.iter().copied().zip(counts).collect();
        HistogramCounts { buckets, overflow, sum: self.sum.load(Ordering::Relaxed) }
    }
}

impl HistogramCounts {
    /// Number of all recorded values, including those above the last bound.
    #[must_use]
    pub fn total_count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum::<u64>() + self.overflow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive() {
        let histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, u64::from(u32::MAX)] {
            histogram.record(value);
        }
        let counts = histogram.counts();
        assert_eq!(counts.buckets, [(10, 2), (20, 2)]);
        assert_eq!((counts.overflow, counts.total_count()), (2, 6));
        assert_eq!(counts.sum, 62 + u64::from(u32::MAX));
    }
}
