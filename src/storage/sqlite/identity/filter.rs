//! Identity filter: a Bloom filter over the keys of the identity index on disk. A new event, and nearly every event
//! is new, costs no lookup in the index.
//!
//! It is built in the background after each start, because reading every key of a large index takes seconds, and again
//! with more bits when the index has outgrown it. Until the first build has finished, every event costs a lookup.

/// Bits per key. With them 24 of 1,000 lookups are unnecessary when the filter is full, fewer before.
const BITS_PER_KEY: u64 = 8;
/// Smallest size, 8 MiB: enough for 4 million events.
const MIN_BITS: u64 = 1 << 26;
/// Largest size, 128 MiB: enough for 67 million events. With more events, unnecessary lookups become more frequent.
const MAX_BITS: u64 = 1 << 30;
const HASHES_PER_KEY: u64 = 4;

/// Answers whether a key may be in the index. "No" is certain, "yes" is not.
#[derive(Default)]
pub(in crate::storage::sqlite) struct IdentityFilter {
    /// Has every key of the index; `None` until the first build has finished.
    complete: Option<FilterBits>,
    /// The build in progress. It also gets the keys that are indexed meanwhile, because the build, which reads the
    /// index in parts, may have passed their place already.
    building: Option<FilterBits>,
}

impl IdentityFilter {
    /// Begins to build a filter for about this number of keys.
    pub(in crate::storage::sqlite) fn begin_build(&mut self, keys: u64) {
        self.building = Some(FilterBits::for_keys(keys));
    }

    /// Adds keys that were in the index when the build began.
    pub(in crate::storage::sqlite) fn continue_build(&mut self, keys: &[i64]) {
        if let Some(bits) = &mut self.building {
            for key in keys {
                bits.insert(*key);
            }
        }
    }

    /// Call it when every key that was in the index has been added.
    pub(in crate::storage::sqlite) fn finish_build(&mut self) {
        if let Some(bits) = self.building.take() {
            self.complete = Some(bits);
        }
    }

    /// Adds a key that is being indexed.
    pub(in crate::storage::sqlite) fn insert(&mut self, key: i64) {
        // Keys are never taken out again, not even when the transaction that indexed them fails or their event is
        // removed: a superfluous key costs an unnecessary lookup, a missing one would cost a duplicate.
        self.complete.iter_mut().chain(&mut self.building).for_each(|bits| bits.insert(key));
    }

    /// Whether the index may hold this key.
    pub(in crate::storage::sqlite) fn may_contain(&self, key: i64) -> bool {
        self.complete.as_ref().is_none_or(|bits| bits.may_contain(key))
    }

    /// Whether a new build would make the filter better.
    pub(in crate::storage::sqlite) fn is_outgrown(&self) -> bool {
        self.complete.as_ref().is_none_or(FilterBits::is_outgrown)
    }
}

/// A filter of fixed size.
struct FilterBits {
    words: Vec<u64>,
    inserted: u64,
}

impl FilterBits {
    /// Room for this number of keys and half as many new ones.
    fn for_keys(keys: u64) -> Self {
        let keys = keys.saturating_add(keys / 2);
        let bits = keys.saturating_mul(BITS_PER_KEY).clamp(MIN_BITS, MAX_BITS).next_power_of_two();
        Self { words: vec![0; usize::try_from(bits / 64).unwrap_or(0)], inserted: 0 }
    }

    fn bits(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    fn is_outgrown(&self) -> bool {
        self.bits() < MAX_BITS && self.inserted.saturating_mul(BITS_PER_KEY) > self.bits()
    }

    fn insert(&mut self, key: i64) {
        for (word, bit) in bit_positions(key, self.bits()) {
            if let Some(word) = self.words.get_mut(word) {
                *word |= bit;
            }
        }
        self.inserted += 1;
    }

    fn may_contain(&self, key: i64) -> bool {
        bit_positions(key, self.bits()).all(|(word, bit)| self.words.get(word).is_none_or(|word| word & bit != 0))
    }
}

/// The bits of a key, each as the index of its word and a mask. `bits` is a power of two.
fn bit_positions(key: i64, bits: u64) -> impl Iterator<Item = (usize, u64)> {
    // The key is a hash already, but the keys of one call share their upper 40 bits; the product spreads them. Double
    // hashing derives all positions from these two values.
    let first = key.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    // Odd, and so coprime to the power of two that is the size: the positions of a key differ.
    let step = first.rotate_left(32) | 1;
    (0..HASHES_PER_KEY).map(move |probe| {
        let bit = first.wrapping_add(probe.wrapping_mul(step)) % bits;
        (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: i64) -> i64 {
        number.wrapping_mul(0x517c_c1b7_2722_0a95)
    }

    #[test]
    fn inserted_keys_are_always_found_and_few_others() {
        let mut bits = FilterBits::for_keys(200_000);
        (0..200_000).for_each(|number| bits.insert(key(number)));
        assert!((0..200_000).all(|number| bits.may_contain(key(number))));
        let false_positives = (200_000..300_000).filter(|number| bits.may_contain(key(*number))).count();
        assert!(false_positives < 100, "{false_positives} of 100,000");
    }

    #[test]
    fn a_full_filter_is_outgrown() {
        let mut bits = FilterBits { words: vec![0; 1 << 14], inserted: 0 };
        let room = i64::try_from(bits.bits() / BITS_PER_KEY).unwrap();
        (0..room).for_each(|number| bits.insert(key(number)));
        assert!(!bits.is_outgrown());
        let false_positives = (room..room + 100_000).filter(|number| bits.may_contain(key(*number))).count();
        assert!(false_positives < 3_000, "{false_positives} of 100,000");
        bits.insert(key(-1));
        assert!(bits.is_outgrown());
        assert!(FilterBits::for_keys(20_000_000).bits() > FilterBits::for_keys(2_000_000).bits());
    }

    #[test]
    fn a_filter_may_contain_every_key_until_it_is_built() {
        let mut filter = IdentityFilter::default();
        assert!(filter.may_contain(1) && filter.is_outgrown());
        filter.begin_build(10);
        filter.insert(1);
        filter.continue_build(&[2]);
        assert!(filter.may_contain(3));
        filter.finish_build();
        assert!(filter.may_contain(1) && filter.may_contain(2) && !filter.may_contain(3) && !filter.is_outgrown());
    }

    #[test]
    fn keys_indexed_during_a_later_build_are_in_both_filters() {
        let mut filter = IdentityFilter::default();
        filter.begin_build(0);
        filter.finish_build();
        filter.begin_build(10_000_000);
        filter.insert(1);
        assert!(filter.may_contain(1) && !filter.may_contain(2));
        filter.finish_build();
        assert!(filter.may_contain(1) && !filter.may_contain(2));
    }
}
