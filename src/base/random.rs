//! Random numbers for jitter. Not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A random number from 0 (inclusive) to 1 (exclusive).
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "53 bits are kept, which is what a floating point number holds")]
pub(crate) fn fraction() -> f64 {
    // Every `RandomState` has different keys, so hashing a constant gives a random number without another dependency.
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    #[test]
    fn fractions_differ_and_are_between_0_and_1() {
        let fractions: Vec<_> = (0..100).map(|_| super::fraction()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..=1.0).contains(fraction)));
        assert!(
            fractions.windows(2).any(|pair| pair[0] < pair[1]) && fractions.windows(2).any(|pair| pair[0] > pair[1])
        );
    }
}
