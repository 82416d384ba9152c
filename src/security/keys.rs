//! API keys that sign webhooks, and the fingerprints by which they are told apart.

use std::fmt;

use hmac::{Hmac, KeyInit};
use sha2::{Digest, Sha256};

use crate::base::secret::Secret;

/// HMAC-SHA256 with the key already absorbed: cloning it saves two hash blocks a request.
pub(super) type KeyedMac = Hmac<Sha256>;

/// A Retell API key (the one with the webhook badge), ready to sign and verify.
///
/// The key's UTF-8 bytes are used whole, `key_` prefix included. Printing shows the fingerprint only.
#[derive(Clone)]
pub struct ApiKey {
    pub(super) keyed_mac: KeyedMac,
    fingerprint: KeyFingerprint,
}

impl ApiKey {
    /// Prepares `key`. Any text is a key here; the configuration refuses blank and placeholder ones.
    #[must_use]
    pub fn new(key: &Secret) -> Self {
        let bytes = key.expose().as_bytes();
        Self { keyed_mac: new_keyed_mac(bytes), fingerprint: KeyFingerprint::from_key_bytes(bytes) }
    }

    /// Names the key without giving it away.
    #[must_use]
    pub fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApiKey").field(&self.fingerprint).finish()
    }
}

fn new_keyed_mac(key: &[u8]) -> KeyedMac {
    // HMAC itself replaces a key longer than a block by its hash; doing it here leaves one infallible constructor.
    const BLOCK: usize = 64;
    let mut block = [0u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    KeyedMac::new(&block.into())
}

/// Sixteen hexadecimal digits that name a key: the start of the SHA-256 of a fixed prefix and the key.
///
/// Kept with every event, so that after a rotation one can see which key still signs.
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
    fn fingerprint_tells_keys_apart_and_hides_them() {
        let one = ApiKey::new(&Secret::new("key_one_0123456789"));
        let two = ApiKey::new(&Secret::new("key_two_0123456789"));
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.fingerprint().to_string().len(), 16);
        assert!(!format!("{one:?}").contains("key_one"));
    }
}
