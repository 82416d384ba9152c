//! Identity filter: a Bloom filter over the keys of the identity index on disk. A new event, and nearly every event
//! is new, costs no lookup in the index.

/// Size of the filter: 8 MiB. With two keys per event, 2 of 1,000 lookups are unnecessary at 2 million events, 1 of 4
/// at 10 million.
const FILTER_BITS: u64 = 1 << 26;
const HASHES_PER_KEY: u64 = 4;

/// Answers whether a key may be in the index. "No" is certain, "yes" is not.
pub(in crate::storage::sqlite) struct IdentityFilter {
    words: Vec<u64>,
    /// Whether every key of the index is in the filter. If not, every answer is "yes".
    complete: bool,
}

impl IdentityFilter {
    /// An empty filter. With `complete` the caller inserts every key of the index. Without it the filter holds
    /// nothing and answers "yes" for every key.
    pub(in crate::storage::sqlite) fn new(complete: bool) -> Self {
        // A filter with some of the keys would answer "no" for the others, and duplicates would be stored again.
        let words = if complete { vec![0; usize::try_from(FILTER_BITS / 64).unwrap_or(0)] } else { Vec::new() };
        Self { words, complete }
    }

    pub(in crate::storage::sqlite) fn insert(&mut self, key: i64) {
        // Keys are never taken out again, not even when the transaction that indexed them fails or their event is
        // removed: a superfluous key costs an unnecessary lookup, a missing one would cost a duplicate.
        for (word, bit) in bit_positions(key) {
            if let Some(word) = self.words.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Whether the index may hold this key.
    pub(in crate::storage::sqlite) fn may_contain(&self, key: i64) -> bool {
        !self.complete || bit_positions(key).all(|(word, bit)| self.words.get(word).is_none_or(|word| word & bit != 0))
    }
}

/// The bits of a key, each as the index of its word and a mask.
fn bit_positions(key: i64) -> impl Iterator<Item = (usize, u64)> {
    // The key is a hash already, but the keys of one call share their upper 40 bits; the product spreads them. Double
    // hashing derives all positions from these two values.
    let first = key.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    // Odd, and so coprime to the power of two that is the size: the positions of a key differ.
    let step = first.rotate_left(32) | 1;
    (0..HASHES_PER_KEY).map(move |probe| {
        let bit = first.wrapping_add(probe.wrapping_mul(step)) % FILTER_BITS;
        (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::IdentityFilter;

    #[test]
    fn inserted_keys_are_always_found_and_few_others() {
        let mut filter = IdentityFilter::new(true);
        let key = |number: i64| number.wrapping_mul(0x517c_c1b7_2722_0a95);
        (0..200_000).for_each(|number| filter.insert(key(number)));
        assert!((0..200_000).all(|number| filter.may_contain(key(number))));
        let false_positives = (200_000..300_000).filter(|number| filter.may_contain(key(*number))).count();
        assert!(false_positives < 100, "{false_positives} of 100,000");
    }

    #[test]
    fn an_incomplete_filter_may_contain_every_key() {
        assert!(IdentityFilter::new(false).may_contain(1));
    }
}
