//! Signatures as Retell makes them, made with the library.

use retell_webhook::Clock;
use retell_webhook::{ApiKey, Secret, Signature};

/// The key that the tests configure; `OTHER_KEY` is not configured.
pub const KEY: &str = "key_tests_9f27a1c4de5588b2031fa7c0";
pub const OTHER_KEY: &str = "key_other_1b2c3d4e5f60718293a4b5c6";

pub fn now_ms() -> i64 {
    Clock::system().now_ms()
}

pub fn api_key(text: &str) -> ApiKey {
    ApiKey::new(&Secret::new(text))
}

/// Value of the signature header for `body`, signed with [`KEY`] and the current time.
pub fn sign(body: &[u8]) -> String {
    sign_with(KEY, body, now_ms())
}

pub fn sign_with(key_text: &str, body: &[u8], at_ms: i64) -> String {
    Signature::sign(&api_key(key_text), body, at_ms).to_string()
}
