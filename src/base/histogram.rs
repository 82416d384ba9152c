//! Counts measurements by size, without locks and without allocating.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often a whole number was at most this, that or more. Recording takes two atomic additions.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for everything above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Upper bounds (inclusive) and how many measurements fell between one and the next below it.
    pub buckets: Vec<(u64, u64)>,
    /// How many were above the last bound.
    pub above: u64,
    /// The sum of all measurements.
    pub sum: u64,
}

impl Histogram {
    /// Counts by these upper bounds, which ascend and are inclusive.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts one measurement.
    pub fn record(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let above = self.counts.last().map_or(0, |count| count.load(Ordering::Relaxed));
        let buckets = self.bounds.iter().copied().zip(counts).collect();
        Measured { buckets, above, sum: self.sum.load(Ordering::Relaxed) }
    }
}

impl Measured {
    /// How many measurements there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum::<u64>() + self.above
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
        let measured = histogram.measured();
        assert_eq!(measured.buckets, [(10, 2), (20, 2)]);
        assert_eq!((measured.above, measured.count()), (2, 6));
        assert_eq!(measured.sum, 62 + u64::from(u32::MAX));
    }
}
