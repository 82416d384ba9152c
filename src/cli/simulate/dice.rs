//! Chance that can be repeated: one seed, one sequence (`SplitMix64`). Not for secrets.

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) struct Dice(u64);

impl Dice {
    /// The dice of item `number` of a run with `seed`.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed);
        Self(dice.roll() ^ number.wrapping_mul(GOLDEN))
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` up to and without `high`, which is larger.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        let spread = u64::from(high.saturating_sub(low).max(1));
        low + u32::try_from(self.roll() % spread).unwrap_or(0)
    }

    /// One of `from`, which is not empty.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.roll() % from.len().max(1) as u64;
        from[usize::try_from(at).unwrap_or(0)]
    }

    /// So many hexadecimal digits.
    pub(super) fn hex(&mut self, digits: usize) -> String {
        let mut text: String =
            std::iter::repeat_with(|| format!("{:016x}", self.roll())).take(digits.div_ceil(16)).collect();
        text.truncate(digits);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn a_seed_gives_its_sequence_and_no_other() {
        let rolls = |seed, number| {
            let mut dice = Dice::new(seed, number);
            [dice.roll(), dice.roll(), dice.roll()]
        };
        assert_eq!(rolls(7, 1), rolls(7, 1));
        assert_ne!(rolls(7, 1), rolls(7, 2));
        assert_ne!(rolls(7, 1), rolls(8, 1));
        assert_eq!(Dice::new(7, 1).hex(27).len(), 27);
        let mut dice = Dice::new(0, 0);
        assert!((0..1_000).map(|_| dice.between(3, 6)).all(|number| (3..6).contains(&number)));
    }
}
