//! Repeatable pseudo-random numbers: every seed gives one sequence (`SplitMix64`). Not for secrets.

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) struct SeededRandom(u64);

impl SeededRandom {
    /// The generator for item `number` of a run with `seed`.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        // The seed is mixed first: otherwise neighboring seeds and numbers would give overlapping sequences.
        let mut mixer = Self(seed);
        Self(mixer.next_u64() ^ number.wrapping_mul(GOLDEN_GAMMA))
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` (inclusive) to `high` (exclusive), which must be larger.
    pub(super) fn range(&mut self, low: u32, high: u32) -> u32 {
        let spread = u64::from(high.saturating_sub(low).max(1));
        low + u32::try_from(self.next_u64() % spread).unwrap_or(0)
    }

    /// One of `items`, which must not be empty.
    pub(super) fn choose<T: Copy>(&mut self, items: &[T]) -> T {
        let index = self.next_u64() % items.len().max(1) as u64;
        items[usize::try_from(index).unwrap_or(0)]
    }

    pub(super) fn hex_digits(&mut self, digits: usize) -> String {
        let mut text: String =
            std::iter::repeat_with(|| format!("{:016x}", self.next_u64())).take(digits.div_ceil(16)).collect();
        text.truncate(digits);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::SeededRandom;

    #[test]
    fn equal_seeds_give_equal_sequences() {
        let sequence = |seed, number| {
            let mut random = SeededRandom::new(seed, number);
            [random.next_u64(), random.next_u64(), random.next_u64()]
        };
        assert_eq!(sequence(7, 1), sequence(7, 1));
        assert_ne!(sequence(7, 1), sequence(7, 2));
        assert_ne!(sequence(7, 1), sequence(8, 1));
        assert_eq!(SeededRandom::new(7, 1).hex_digits(27).len(), 27);
        let mut random = SeededRandom::new(0, 0);
        assert!((0..1_000).map(|_| random.range(3, 6)).all(|number| (3..6).contains(&number)));
    }
}
