//! The identity of an event: equal for two requests exactly when they carry the same one.

use std::fmt;

use highway::{HighwayHash, HighwayHasher, Key};

use super::NewEvent;

/// Sixteen bytes that are equal for two requests exactly when they carry the same event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub(super) [u8; 16]);

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
        let apart = event.told_apart_by.as_deref().unwrap_or_default();
        hash.append(&(apart.len() as u64).to_le_bytes());
        hash.append(apart.as_bytes());
        hash.append(&event.body);
        let [low, high] = hash.finalize128();
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&low.to_le_bytes());
        identity[8..].copy_from_slice(&high.to_le_bytes());
        Identity(identity)
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(***)")
    }
}
