//! A secret that whoever asks has to present.

use std::fmt;

use hmac::Mac;

use super::keys::{ApiKey, KeyedMac};
use crate::base::secret::Secret;

/// A token to be compared with what somebody presents. The comparison takes as long for a nearly right guess as for any
/// other of its length, and printing shows nothing.
#[derive(Clone)]
pub(crate) struct BearerToken {
    keyed_mac: KeyedMac,
    expected_mac: [u8; 32],
}

impl BearerToken {
    /// Prepares `token`.
    #[must_use]
    pub(crate) fn new(token: &Secret) -> Self {
        // Comparing MACs under a key nobody else has tells a guesser nothing about how much of the token was right.
        let keyed = ApiKey::new(token).keyed_mac;
        let expected = keyed.clone().chain_update(token.expose()).finalize().into_bytes().into();
        Self { keyed_mac: keyed, expected_mac: expected }
    }

    /// Whether `presented` is the token.
    #[must_use]
    pub(crate) fn matches(&self, presented: &str) -> bool {
        self.keyed_mac.clone().chain_update(presented).verify_slice(&self.expected_mac).is_ok()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_right() {
        let token = BearerToken::new(&Secret::new("4f9c2d1e8b7a6053"));
        assert!(token.matches("4f9c2d1e8b7a6053"));
        for wrong in ["", "4f9c2d1e8b7a605", "4f9c2d1e8b7a60533", "4F9C2D1E8B7A6053"] {
            assert!(!token.matches(wrong), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token(***)");
    }
}
