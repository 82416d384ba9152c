//! The checksum of a write-ahead log, and which bit has flipped when it does not match.

/// SQLite's two sums over pairs of 32-bit words.
pub(super) type Checksum = (u32, u32);

/// A 32-bit number of a header, which is always big-endian.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The order of the bytes in the words that are summed up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WordOrder {
    Big,
    Little,
}

impl WordOrder {
    /// Whether the checksum of a page identifies this bit. The weights of the highest bits of a word repeat within a page,
    /// and larger damage could be taken for one of them.
    pub(super) fn is_identified(self, (at, bit): (usize, u32)) -> bool {
        let byte = if self == Self::Big { 3 - at % 4 } else { at % 4 };
        byte < 2 || byte == 2 && bit < 7
    }

    fn read(self, bytes: &[u8], at: usize) -> u32 {
        let big = word(bytes, at);
        if self == Self::Big { big } else { big.swap_bytes() }
    }

    pub(super) fn add(self, (mut one, mut two): Checksum, bytes: &[u8]) -> Checksum {
        for at in (0..bytes.len()).step_by(8) {
            one = one.wrapping_add(self.read(bytes, at)).wrapping_add(two);
            two = two.wrapping_add(self.read(bytes, at + 4)).wrapping_add(one);
        }
        (one, two)
    }

    /// All bits of `bytes`, as byte and bit, whose flip would change the checksum from `found` to `expected`. Each bit
    /// has a fixed weight in both sums, so none has to be tried.
    pub(super) fn bits_between(self, bytes: &[u8], found: Checksum, expected: Checksum) -> Vec<(usize, u32)> {
        let wanted = (expected.0.wrapping_sub(found.0), expected.1.wrapping_sub(found.1));
        // What an increment of either word of the last pair adds to the two sums.
        let (mut first, mut second): (Checksum, Checksum) = ((1, 1), (0, 1));
        let mut bits = Vec::new();
        for pair in (0..bytes.len()).step_by(8).rev() {
            for (at, weight) in [(pair, first), (pair + 4, second)] {
                for bit in 0..32 {
                    let is_set = self.read(bytes, at) >> bit & 1 == 1;
                    let change = if is_set { (1_u32 << bit).wrapping_neg() } else { 1 << bit };
                    if (weight.0.wrapping_mul(change), weight.1.wrapping_mul(change)) == wanted {
                        let byte = if self == Self::Big { 3 - bit / 8 } else { bit / 8 };
                        bits.push((at + byte as usize, bit % 8));
                    }
                }
            }
            // The words of the pair before go through the sums once more.
            for weight in [&mut first, &mut second] {
                let one = weight.0.wrapping_add(weight.1);
                *weight = (one, one.wrapping_add(weight.1));
            }
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_found() {
        let bytes: Vec<u8> = (0..64_u8).map(|number| number.wrapping_mul(37)).collect();
        for order in [WordOrder::Big, WordOrder::Little] {
            let expected = order.add((11, 12), &bytes);
            for (byte, bit) in (0..bytes.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
                let mut damaged = bytes.clone();
                damaged[byte] ^= 1 << bit;
                let found = order.add((11, 12), &damaged);
                let bits = order.bits_between(&damaged, found, expected);
                assert!(bits.contains(&(byte, bit)), "{byte}: {bits:?}");
                assert!(bits.len() == 1 || !order.is_identified((byte, bit)), "{byte}: {bits:?}");
            }
        }
    }
}
