//! Recognizes phone numbers in text of which only keyed digests are known.

use std::collections::HashMap;

use crate::privacy::phone_number::{PhoneNumber, for_each_candidate};
use crate::storage::IdentityKey;

/// A keyed digest of 128 bits.
pub(crate) type ErasureDigest = [u8; 16];

/// The phone numbers of erased persons, by digest.
#[derive(Debug)]
pub(crate) struct ErasedNumbers {
    key: IdentityKey,
    /// The digits before those of the digest, which are the country code of a number without it, and else empty.
    prefixes: HashMap<ErasureDigest, String>,
}

impl ErasedNumbers {
    pub(in crate::storage) fn new(key: IdentityKey) -> Self {
        Self { key, prefixes: HashMap::new() }
    }

    pub(in crate::storage) fn add(&mut self, digest: ErasureDigest, prefix: String) {
        self.prefixes.insert(digest, prefix);
    }

    pub(in crate::storage) fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Whether a text contains one of the numbers in any spelling.
    pub(in crate::storage) fn occur_in(&self, text: &[u8]) -> bool {
        let mut found = false;
        for_each_candidate(text, |digits| {
            let Some(prefix) = self.prefixes.get(&self.key.erasure_digest("number", digits)) else { return true };
            // The digest tells the digits; whether they are that number in this place depends on what is around them.
            let number = format!("+{prefix}{}", String::from_utf8_lossy(digits)).parse::<PhoneNumber>();
            found = number.is_ok_and(|number| number.occurs_in(text));
            !found
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erased(number: &str) -> ErasedNumbers {
        let key = IdentityKey::from_bytes(&[3; 32]);
        let number: PhoneNumber = number.parse().unwrap();
        let mut erased = ErasedNumbers::new(key.clone());
        erased.add(key.erasure_digest("number", number.digits()), String::new());
        let (country_code, national) = number.split_country_code();
        erased.add(key.erasure_digest("number", national), String::from_utf8_lossy(country_code).into_owned());
        erased
    }

    #[test]
    fn every_spelling_of_a_number_is_recognized_by_its_digest() {
        let american = erased("+12025550143");
        for text in [
            r#"{"from_number":"+12025550143"}"#,
            "0012025550143",
            "01112025550143",
            "+1 (202) 555-0143",
            "202-555-0143",
            r"+1\u00a0202\u00a0555\u00a00143",
            "tel=%2B1%20202%20555%200143",
            "tel=%202025550143",
            "call 5 2025550143",
        ] {
            assert!(american.occur_in(text.as_bytes()), "{text}");
        }
        for text in ["+12025550144", "+442025550143", "120255501431", "+44 2025550143", ""] {
            assert!(!american.occur_in(text.as_bytes()), "{text}");
        }
        let german = erased("+49 30 901820");
        for text in ["030 901820", "030/901820", "+49 (0)30 901820", "004930901820"] {
            assert!(german.occur_in(text.as_bytes()), "{text}");
        }
    }
}
