//! Signatures as Retell makes them, by the library's own hand.

use retell_webhook::Clock;
use retell_webhook::{ApiKey, Secret, Signature};

/// The key the tests configure, and one they do not.
pub const KEY: &str = "key_tests_9f27a1c4de5588b2031fa7c0";
pub const OTHER_KEY: &str = "key_other_1b2c3d4e5f60718293a4b5c6";

pub fn now_ms() -> i64 {
    Clock::system().now_ms()
}

pub fn api_key(text: &str) -> ApiKey {
    ApiKey::new(&Secret::new(text))
}

/// The header for `body`, signed now with [`KEY`].
pub fn sign(body: &[u8]) -> String {
    sign_with(KEY, body, now_ms())
}

pub fn sign_with(key_text: &str, body: &[u8], at_ms: i64) -> String {
    Signature::sign(&api_key(key_text), body, at_ms).to_string()
}
