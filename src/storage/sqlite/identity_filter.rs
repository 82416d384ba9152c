//! A Bloom filter over the keys of the index on disk: an event that was never seen, which is nearly every one, costs no
//! look-up in it.

/// 8 MiB: with two keys an event, two look-ups in a thousand are in vain at 2 million events, one in four at 10 million.
const FILTER_BITS: u64 = 1 << 26;
const HASHES_PER_KEY: u64 = 4;

/// Says for certain that a key is not in the index, or that it may be.
pub(super) struct IdentityFilter {
    words: Vec<u64>,
    /// Whether every key of the index is in it; until then any key may be.
    complete: bool,
}

impl IdentityFilter {
    /// Without any key yet. With `complete` every key of the index is going to be put in; without it nothing is kept, and
    /// any key may be there.
    pub(super) fn new(complete: bool) -> Self {
        let words = if complete { vec![0; usize::try_from(FILTER_BITS / 64).unwrap_or(0)] } else { Vec::new() };
        Self { words, complete }
    }

    /// Puts a key in. A key that is not in the index after all costs a look-up now and then.
    pub(super) fn insert(&mut self, key: i64) {
        for (word, bit) in bit_positions(key) {
            if let Some(word) = self.words.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Whether the index may have this key.
    pub(super) fn may_contain(&self, key: i64) -> bool {
        !self.complete || bit_positions(key).all(|(word, bit)| self.words.get(word).is_none_or(|word| word & bit != 0))
    }
}

/// Where the bits of a key are: the word's number and the bit in it. The key is a hash already; the product spreads what
/// the keys of one call have in common.
fn bit_positions(key: i64) -> impl Iterator<Item = (usize, u64)> {
    let first = key.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    // Odd, so that the steps do not fall together.
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
    fn a_key_that_was_put_in_is_never_denied_and_few_others_are_allowed() {
        let mut filter = IdentityFilter::new(true);
        let key = |number: i64| number.wrapping_mul(0x517c_c1b7_2722_0a95);
        (0..200_000).for_each(|number| filter.insert(key(number)));
        assert!((0..200_000).all(|number| filter.may_contain(key(number))));
        let in_vain = (200_000..300_000).filter(|number| filter.may_contain(key(*number))).count();
        assert!(in_vain < 100, "{in_vain} of 100,000");
    }

    #[test]
    fn an_incomplete_one_denies_nothing() {
        assert!(IdentityFilter::new(false).may_contain(1));
    }
}
