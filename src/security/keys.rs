//! API keys that sign webhooks, and the fingerprints that identify them.

use std::fmt;

use hmac::{Hmac, KeyInit};
use sha2::{Digest, Sha256};

use crate::base::secret::Secret;

/// HMAC-SHA256 that has already processed the key. Cloning it saves two hash blocks per signature.
pub(super) type KeyedMac = Hmac<Sha256>;

/// A Retell API key that signs webhooks: the one with the webhook badge.
///
/// All UTF-8 bytes of the key are used, including the prefix `key_`. `Debug` shows the fingerprint only.
#[derive(Clone)]
pub struct ApiKey {
    pub(super) keyed_mac: KeyedMac,
    fingerprint: KeyFingerprint,
}

impl ApiKey {
    /// Prepares `key` for signing and verifying. Every text is accepted; blank keys and placeholders are rejected by
    /// the configuration.
    #[must_use]
    pub fn new(key: &Secret) -> Self {
        let bytes = key.expose().as_bytes();
        Self { keyed_mac: new_keyed_mac(bytes), fingerprint: KeyFingerprint::from_key_bytes(bytes) }
    }

    /// The fingerprint, which identifies the key without revealing it.
    #[must_use]
    pub fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }
}

impl From<&str> for ApiKey {
    fn from(key: &str) -> Self {
        Self::new(&Secret::new(key))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApiKey").field(&self.fingerprint).finish()
    }
}

fn new_keyed_mac(key: &[u8]) -> KeyedMac {
    // HMAC itself replaces a key that is longer than a block by its hash. Done here, the constructor cannot fail.
    const BLOCK: usize = 64;
    let mut block = [0u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    KeyedMac::new(&block.into())
}

/// Sixteen hexadecimal digits that identify a key: the first 8 bytes of the SHA-256 of a fixed prefix and the key.
///
/// It is stored with every event, so that after a rotation the operator can see which key still signs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyFingerprint([u8; 8]);

impl KeyFingerprint {
    fn from_key_bytes(key: &[u8]) -> Self {
        let digest: [u8; 32] =
            Sha256::new().chain_update(b"retell-webhook key fingerprint\0").chain_update(key).finalize().into();
        let mut short = [0; 8];
        short.copy_from_slice(&digest[..8]);
        Self(short)
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_identify_keys_without_revealing_them() {
        let one = ApiKey::new(&Secret::new("key_one_0123456789"));
        let two = ApiKey::new(&Secret::new("key_two_0123456789"));
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.fingerprint().to_string().len(), 16);
        assert!(!format!("{one:?}").contains("key_one"));
    }
}
