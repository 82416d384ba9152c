//! A secret that whoever asks has to present.

use std::fmt;

use hmac::Mac;

use super::keys::{ApiKey, KeyedMac};
use crate::base::secret::Secret;

/// A token to be compared with what somebody presents. The comparison takes as long for a nearly right guess as for any
/// other of its length, and printing shows nothing.
#[derive(Clone)]
pub struct Token {
    keyed: KeyedMac,
    expected: [u8; 32],
}

impl Token {
    /// Prepares `token`.
    #[must_use]
    pub fn new(token: &Secret) -> Self {
        // Comparing MACs under a key nobody else has tells a guesser nothing about how much of the token was right.
        let keyed = ApiKey::new(token).keyed;
        let expected = keyed.clone().chain_update(token.expose()).finalize().into_bytes().into();
        Self { keyed, expected }
    }

    /// Whether `presented` is the token.
    #[must_use]
    pub fn is(&self, presented: &str) -> bool {
        self.keyed.clone().chain_update(presented).verify_slice(&self.expected).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_right() {
        let token = Token::new(&Secret::new("4f9c2d1e8b7a6053"));
        assert!(token.is("4f9c2d1e8b7a6053"));
        for wrong in ["", "4f9c2d1e8b7a605", "4f9c2d1e8b7a60533", "4F9C2D1E8B7A6053"] {
            assert!(!token.is(wrong), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token(***)");
    }
}
