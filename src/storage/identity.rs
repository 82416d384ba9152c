//! The identity of an event, equal for two requests exactly when they carry the same one, and the keys it is found by.

use std::fmt;
use std::ops::RangeInclusive;

use highway::{HighwayHash, HighwayHasher, Key};

use super::NewEvent;

/// Sixteen bytes that are equal for two requests exactly when they carry the same event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub(super) [u8; 16]);

impl Identity {
    /// The half of it that an index keeps.
    pub(super) fn index_key(&self) -> i64 {
        let [low, _] = self.0.as_chunks().0 else { return 0 };
        i64::from_le_bytes(*low)
    }
}

/// The low bits of [`IdentityKey::call_key`], in which the keys of one call differ.
const CALL_KEY_EVENT_MASK: i64 = (1 << 24) - 1;

/// A secret of the store's own, random and made once, under which identities are hashed (`HighwayHash`, 128 bits).
///
/// Two bodies with the same identity would cost the second one. Nobody can look for such a pair without the key, and by
/// chance it needs some 10^18 events. A plain SHA-256 would need no key, but a second pass over a large body costs as
/// much as checking its signature.
#[derive(Clone)]
pub struct IdentityKey([u64; 4]);

impl IdentityKey {
    /// The key kept as these 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    /// The identity of `event`: of its company, what else tells it apart, and its body.
    #[must_use]
    pub fn identity(&self, event: &NewEvent) -> Identity {
        let mut hash = HighwayHasher::new(Key(self.0));
        hash.append(&event.company_id.to_le_bytes());
        // Its length in front: no pair of texts reads like another pair.
        let apart = event.dedupe_discriminator.as_deref().unwrap_or_default();
        hash.append(&(apart.len() as u64).to_le_bytes());
        hash.append(apart.as_bytes());
        hash.append(&event.body);
        let [low, high] = hash.finalize128();
        Identity((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
    }

    /// What an index keeps for an event of this company, call and name, as a revision and the first event have in common:
    /// 40 bits of a hash of the call's id, then [`EVENT_BITS`] of one of the other two.
    pub(super) fn call_key(&self, company_id: i64, call_id: &str, event: &str) -> i64 {
        let mut hash = HighwayHasher::new(Key(self.0));
        hash.append(&company_id.to_le_bytes());
        hash.append(event.as_bytes());
        self.call_hash(call_id) & !CALL_KEY_EVENT_MASK | hash.finalize64().cast_signed() & CALL_KEY_EVENT_MASK
    }

    /// Where an index keeps the events of this call, whatever their company and name.
    pub(super) fn call_key_range(&self, call_id: &str) -> RangeInclusive<i64> {
        let call = self.call_hash(call_id);
        call & !CALL_KEY_EVENT_MASK..=call | CALL_KEY_EVENT_MASK
    }

    fn call_hash(&self, call_id: &str) -> i64 {
        HighwayHasher::new(Key(self.0)).hash64(call_id.as_bytes()).cast_signed()
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::IdentityKey;

    #[test]
    fn the_keys_of_a_call_lie_together_and_differ_by_name_and_company() {
        let keys = IdentityKey::from_bytes(&[7; 32]);
        let range = keys.call_key_range("call_1");
        let ended = keys.call_key(1, "call_1", "call_ended");
        assert!(range.contains(&ended));
        for other in [keys.call_key(1, "call_1", "call_started"), keys.call_key(2, "call_1", "call_ended")] {
            assert!(range.contains(&other) && other != ended);
        }
        assert!(!range.contains(&keys.call_key(1, "call_2", "call_ended")));
    }
}
