//! Counts measurements by size, without locks and without allocating.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often a whole number was at most this, that or more. Recording takes two atomic additions.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for everything above the last.
    bucket_counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramCounts {
    /// Upper bounds (inclusive) and how many measurements fell between one and the next below it.
    pub buckets: Vec<(u64, u64)>,
    /// How many were above the last bound.
    pub overflow: u64,
    /// The sum of all measurements.
    pub sum: u64,
}

impl Histogram {
    /// Counts by these upper bounds, which ascend and are inclusive.
    #[must_use]
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, bucket_counts: counts, sum: AtomicU64::new(0) }
    }

    /// Counts one measurement.
    pub(crate) fn record(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.bucket_counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub(crate) fn counts(&self) -> HistogramCounts {
        let counts = self.bucket_counts.iter().map(|count| count.load(Ordering::Relaxed));
        let above = self.bucket_counts.last().map_or(0, |count| count.load(Ordering::Relaxed));
        let buckets = self.bounds.iter().copied().zip(counts).collect();
        HistogramCounts { buckets, overflow: above, sum: self.sum.load(Ordering::Relaxed) }
    }
}

impl HistogramCounts {
    /// How many measurements there were.
    #[must_use]
    pub fn total_count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum::<u64>() + self.overflow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, u64::from(u32::MAX)] {
            histogram.record(value);
        }
        let measured = histogram.counts();
        assert_eq!(measured.buckets, [(10, 2), (20, 2)]);
        assert_eq!((measured.overflow, measured.total_count()), (2, 6));
        assert_eq!(measured.sum, 62 + u64::from(u32::MAX));
    }
}
