//! The identity of an event, by which duplicates are found, and the keys under which indexes keep events.

use std::fmt;
use std::ops::RangeInclusive;

use highway::{HighwayHash, HighwayHasher, Key};

use super::NewEvent;
use crate::base::id::CompanyId;

/// A keyed hash of 16 bytes that is equal for two requests exactly when they carry the same event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub(super) [u8; 16]);

impl Identity {
    /// The half that indexes keep. 64 bits need half the space, and a match is compared with the whole identity in
    /// any case.
    pub(super) fn index_key(&self) -> i64 {
        let [low, _] = self.0.as_chunks().0 else { return 0 };
        i64::from_le_bytes(*low)
    }
}

/// The low bits of [`IdentityKey::call_key`], in which the keys of one call differ by company and event kind.
const CALL_KEY_EVENT_MASK: i64 = (1 << 24) - 1;

/// The random secret of a store under which identities are hashed (`HighwayHash`, 128 bits). Made once with the store.
///
/// Of two different bodies with the same identity the second would be lost as a duplicate. Without the key such a
/// pair cannot be searched for, and by chance it takes about 10^18 events. SHA-256 would need no key, but a second
/// pass over a large body with it costs as much as checking the signature.
#[derive(Clone)]
pub struct IdentityKey([u64; 4]);

impl IdentityKey {
    /// Decodes a key from the 32 bytes that the store holds.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    /// The identity of `event`: a hash of its company, dedupe discriminator and body.
    #[must_use]
    pub fn identity(&self, event: &NewEvent) -> Identity {
        self.hash(event.company_id, event.dedupe_discriminator.as_deref(), &event.body)
    }

    /// The identity of an event with these values. It is also the digest with which the body is checked when it is
    /// read.
    pub(super) fn hash(&self, company_id: CompanyId, discriminator: Option<&str>, body: &[u8]) -> Identity {
        let mut hash = HighwayHasher::new(Key(self.0));
        hash.append(&company_id.get().to_le_bytes());
        // The length comes first, so that moving bytes between discriminator and body changes the hash.
        let discriminator = discriminator.unwrap_or_default();
        hash.append(&(discriminator.len() as u64).to_le_bytes());
        hash.append(discriminator.as_bytes());
        hash.append(body);
        let [low, high] = hash.finalize128();
        Identity((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
    }

    /// A keyed checksum of a few bytes that the store writes to its files.
    pub(super) fn checksum(&self, bytes: &[u8]) -> u64 {
        HighwayHasher::new(Key(self.0)).hash64(bytes)
    }

    /// The key that all events of this company, call and kind share, by which a revision finds the first event: 40
    /// bits of a hash of the call id, then the 24 bits of [`CALL_KEY_EVENT_MASK`] of a hash of company and kind.
    pub(super) fn call_key(&self, company_id: CompanyId, call_id: &str, kind: &str) -> i64 {
        let mut hash = HighwayHasher::new(Key(self.0));
        hash.append(&company_id.get().to_le_bytes());
        hash.append(kind.as_bytes());
        // The call id fills the high bits, so that the keys of a call are neighbors in the index: one range finds
        // them all.
        self.call_hash(call_id) & !CALL_KEY_EVENT_MASK | hash.finalize64().cast_signed() & CALL_KEY_EVENT_MASK
    }

    /// The range of keys of all events of this call, regardless of company and kind.
    pub(super) fn call_key_range(&self, call_id: &str) -> RangeInclusive<i64> {
        let call = self.call_hash(call_id);
        call & !CALL_KEY_EVENT_MASK..=call | CALL_KEY_EVENT_MASK
    }

    /// A digest for the erasure log of something that identifies a person. `kind` keeps digests of different things apart.
    pub(super) fn erasure_digest(&self, kind: &str, value: &[u8]) -> [u8; 16] {
        let mut hash = HighwayHasher::new(Key(self.0));
        hash.append(b"erasure log\0");
        hash.append(kind.as_bytes());
        hash.append(&[0]);
        hash.append(value);
        let [low, high] = hash.finalize128();
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
    }

    /// Identifies the store that has this key, without revealing the key.
    pub(super) fn store_id(&self) -> String {
        hex::encode(self.erasure_digest("store", &[]))
    }

    /// The key by which the row of a call or chat is found. Calls of different companies may share it, or by chance any
    /// calls.
    pub(super) fn call_hash(&self, call_id: &str) -> i64 {
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
    use super::*;

    #[test]
    fn the_keys_of_a_call_are_neighbors_and_differ_by_kind_and_company() {
        let keys = IdentityKey::from_bytes(&[7; 32]);
        let range = keys.call_key_range("call_1");
        let ended = keys.call_key(CompanyId::new(1), "call_1", "call_ended");
        assert!(range.contains(&ended));
        for other in [
            keys.call_key(CompanyId::new(1), "call_1", "call_started"),
            keys.call_key(CompanyId::new(2), "call_1", "call_ended"),
        ] {
            assert!(range.contains(&other) && other != ended);
        }
        assert!(!range.contains(&keys.call_key(CompanyId::new(1), "call_2", "call_ended")));
    }
}
