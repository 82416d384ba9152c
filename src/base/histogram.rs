//! Histograms: one that is recorded without locks, and one of stored counts.

use std::collections::BTreeMap;
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

/// Counts of values in fixed buckets that grow with the values: four per power of two, so that a bucket is at most a
/// quarter wider than its lowest value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogHistogram {
    counts: BTreeMap<u8, u64>,
}

impl LogHistogram {
    /// The number of the bucket of a value.
    #[must_use]
    pub(crate) fn bucket(value: u64) -> u8 {
        // The two bits after the highest one choose among the four buckets of a power of two.
        let Some(exponent) = value.checked_ilog2().filter(|exponent| *exponent >= 2) else {
            return u8::try_from(value).unwrap_or(0);
        };
        let part = (value >> (exponent - 2)) & 3;
        u8::try_from(u64::from(exponent - 1) * 4 + part).unwrap_or(u8::MAX)
    }

    /// The largest value of a bucket.
    fn upper_bound(bucket: u8) -> u64 {
        let (exponent, part) = (u32::from(bucket / 4), u64::from(bucket % 4));
        if exponent == 0 {
            return part;
        }
        let width = 1_u64.checked_shl(exponent - 1).unwrap_or(0);
        (4 + part).saturating_mul(width).saturating_add(width.saturating_sub(1))
    }

    pub(crate) fn add(&mut self, bucket: u8, count: u64) {
        *self.counts.entry(bucket).or_default() += count;
    }

    #[must_use]
    pub(crate) fn total_count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The upper bound of the bucket below which this percentage of the values is; `None` without values.
    #[must_use]
    pub(crate) fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.total_count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in &self.counts {
            seen += count;
            if seen >= rank {
                return Some(Self::upper_bound(*bucket));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithmic_buckets_contain_their_values() {
        let mut last = None;
        for value in (0..10_000).chain([u64::from(u32::MAX), u64::MAX / 2]) {
            let bucket = LogHistogram::bucket(value);
            let upper = LogHistogram::upper_bound(bucket);
            assert!(value <= upper && upper - value <= value / 4, "{value}: bucket {bucket} up to {upper}");
            assert!(last <= Some(bucket), "{value}");
            last = Some(bucket);
        }
        assert_eq!(LogHistogram::bucket(u64::MAX), LogHistogram::bucket(u64::MAX - 1));
    }

    #[test]
    fn percentiles_are_upper_bounds() {
        let mut histogram = LogHistogram::default();
        assert_eq!(histogram.percentile(50), None);
        for value in 1..=100 {
            histogram.add(LogHistogram::bucket(value), 1);
        }
        assert_eq!(
            (histogram.percentile(50), histogram.percentile(99), histogram.total_count()),
            (Some(55), Some(111), 100)
        );
    }

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
