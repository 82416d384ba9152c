//! A latency histogram with buckets that grow with the value.

/// Every power of two is split into this number of buckets, so that percentiles are at most 1.6 % too high.
const BUCKETS_PER_POWER: u32 = 64;
const BUCKETS_PER_POWER_BITS: u32 = BUCKETS_PER_POWER.ilog2();
const BUCKET_COUNT: usize = ((u32::BITS - BUCKETS_PER_POWER_BITS + 1) * BUCKETS_PER_POWER) as usize;

/// One counter per latency bucket. Memory for single values would grow with the rate, and the rate differs between
/// the compared servers.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKET_COUNT], total: 0, max: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, micros: u32) {
        self.counts[bucket_index(micros)] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The latency in microseconds that `per_mille` of 1000 requests did not exceed.
    pub fn quantile(&self, per_mille: u64) -> u32 {
        let wanted = (self.total * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (index, count) in (0..).zip(&self.counts) {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper_bound(index).min(self.max);
            }
        }
        self.max
    }

    pub fn max(&self) -> u32 {
        self.max
    }
}

/// Values below `BUCKETS_PER_POWER` have one bucket per value; for larger ones the leading bits select the bucket.
fn bucket_index(value: u32) -> usize {
    if value < BUCKETS_PER_POWER {
        return value as usize;
    }
    let shift = value.ilog2() - BUCKETS_PER_POWER_BITS;
    (shift * BUCKETS_PER_POWER + (value >> shift)) as usize
}

/// The largest value that falls into bucket `index`.
fn upper_bound(index: u32) -> u32 {
    if index < BUCKETS_PER_POWER {
        return index;
    }
    let shift = index / BUCKETS_PER_POWER - 1;
    let end = u64::from(BUCKETS_PER_POWER + index % BUCKETS_PER_POWER + 1) << shift;
    u32::try_from(end - 1).unwrap_or(u32::MAX)
}
