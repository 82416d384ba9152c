//! Bearer tokens that callers have to present.

use std::fmt;

use hmac::Mac;

use super::keys::{ApiKey, KeyedMac};
use crate::base::secret::Secret;

/// A token that is compared with the one a caller presents. The time of the comparison does not depend on how much of
/// a guess is correct, and `Debug` does not show the token.
#[derive(Clone)]
pub(crate) struct BearerToken {
    keyed_mac: KeyedMac,
    expected_mac: [u8; 32],
}

impl BearerToken {
    #[must_use]
    pub(crate) fn new(token: &Secret) -> Self {
        // MACs keyed with the token itself are compared: an attacker who guesses does not have the key, so timing
        // reveals nothing about the token.
        let keyed_mac = ApiKey::new(token).keyed_mac;
        let expected_mac = keyed_mac.clone().chain_update(token.expose()).finalize().into_bytes().into();
        Self { keyed_mac, expected_mac }
    }

    #[must_use]
    pub(crate) fn matches(&self, presented: &str) -> bool {
        self.keyed_mac.clone().chain_update(presented).verify_slice(&self.expected_mac).is_ok()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_token_matches() {
        let token = BearerToken::new(&Secret::new("4f9c2d1e8b7a6053"));
        assert!(token.matches("4f9c2d1e8b7a6053"));
        for wrong in ["", "4f9c2d1e8b7a605", "4f9c2d1e8b7a60533", "4F9C2D1E8B7A6053"] {
            assert!(!token.matches(wrong), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "BearerToken(***)");
    }
}
