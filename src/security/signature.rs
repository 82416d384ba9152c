//! Retell's request signature: `X-Retell-Signature: v=<unix ms>,d=<64 lower-case hex>`.
//!
//! The digest is HMAC-SHA256 over the raw bytes of the body followed by the decimal digits of `v`. The key is the
//! UTF-8 text of the API key that has the webhook badge. Retell's SDKs reject a `v` that differs from the current
//! time by more than five minutes in either direction. The tests use vectors made with Retell's Python and TypeScript
//! SDKs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hmac::Mac;

use super::keys::{ApiKey, KeyFingerprint, KeyedMac};
use super::rejection_reason::RejectionReason;

/// Name of the signature header, in lower case as HTTP libraries store it.
pub const SIGNATURE_HEADER: &str = "x-retell-signature";

/// Allowed difference between a signature's timestamp and the current time, in milliseconds (inclusive): five
/// minutes, as in Retell's SDKs.
pub(crate) const DEFAULT_TOLERANCE_MS: i64 = 300_000;

/// A parsed signature header. Parsing checks the form only, neither the age nor the digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    timestamp_ms: i64,
    mac: [u8; 32],
}

impl Signature {
    /// When the request was signed, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// Signs `body` as Retell does. `to_string()` gives the value of the header.
    #[must_use]
    pub fn sign(key: &ApiKey, body: &[u8], timestamp_ms: i64) -> Self {
        PrefixSigner::new(key, body).sign(&[], timestamp_ms)
    }

    /// Whether the digest is that of `body` followed by `appended`, made with `key`. Compares in constant time.
    pub(super) fn is_valid_with(&self, key: &ApiKey, body: &[u8], appended: &str) -> bool {
        key.keyed_mac.clone().chain_update(body).chain_update(appended).verify_slice(&self.mac).is_ok()
    }
}

/// Signs bodies that begin with the same bytes, which are hashed only once.
pub(crate) struct PrefixSigner(KeyedMac);

impl PrefixSigner {
    pub(crate) fn new(key: &ApiKey, body_prefix: &[u8]) -> Self {
        Self(key.keyed_mac.clone().chain_update(body_prefix))
    }

    /// The signature of the body that ends with `rest`.
    pub(crate) fn sign(&self, rest: &[u8], timestamp_ms: i64) -> Signature {
        let mac = self.0.clone().chain_update(rest).chain_update(timestamp_ms.to_string());
        Signature { timestamp_ms, mac: mac.finalize().into_bytes().into() }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v={},d={}", self.timestamp_ms, hex::encode(self.mac))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature(v={})", self.timestamp_ms)
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    /// Parses strictly: ASCII digits without a leading zero, exactly 64 lower-case hex digits, nothing before or
    /// after.
    fn from_str(header: &str) -> Result<Self, SignatureError> {
        let rest = header.strip_prefix("v=").ok_or(SignatureError::MalformedHeader)?;
        let (digits, digest) = rest.split_once(",d=").ok_or(SignatureError::MalformedHeader)?;
        Ok(Self { timestamp_ms: parse_timestamp(digits)?, mac: parse_digest(digest)? })
    }
}

fn parse_timestamp(digits: &str) -> Result<i64, SignatureError> {
    let is_number = !digits.is_empty() && digits.len() <= 19 && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number || (digits.len() > 1 && digits.starts_with('0')) {
        return Err(SignatureError::MalformedHeader);
    }
    digits.parse().map_err(|_| SignatureError::MalformedHeader)
}

fn parse_digest(digest: &str) -> Result<[u8; 32], SignatureError> {
    // `hex` accepts upper case, but Retell never sends it: a header with it was rewritten in transit.
    if digest.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(SignatureError::MalformedHeader);
    }
    let mut mac = [0; 32];
    hex::decode_to_slice(digest, &mut mac).map_err(|_| SignatureError::MalformedHeader)?;
    Ok(mac)
}

/// Why a signature was not accepted. For logs and metrics only: the sender gets a 401 without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The request has no `X-Retell-Signature` header.
    #[error("the X-Retell-Signature header is missing")]
    MissingHeader,
    /// The header is not `v=<digits>,d=<64 lower-case hex>`, or is present more than once.
    #[error("the X-Retell-Signature header is malformed (expected v=<unix ms>,d=<64 lower-case hex digits>, once)")]
    MalformedHeader,
    /// The request was signed too long ago, or too far in the future.
    #[error("the signature is stale: signed {} ms {}", .0.unsigned_abs(), if *.0 >= 0 { "ago" } else { "in the future" })]
    Stale(
        /// Current time minus the signature's timestamp, in milliseconds; negative when it is in the future.
        i64,
    ),
    /// The header is well-formed and recent, but no configured key made the digest.
    #[error("no configured key made this signature (wrong key, or the body was changed in transit)")]
    NoKeyMatched,
}

impl SignatureError {
    /// The label for metrics: `missing`, `malformed`, `stale_past`, `stale_future` or `no_key_matched`.
    #[must_use]
    pub fn label(self) -> &'static str {
        RejectionReason::from(self).as_str()
    }
}

/// Verifies signatures with one or more keys.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Arc<[ApiKey]>,
    tolerance_ms: i64,
}

impl From<&str> for Verifier {
    fn from(key: &str) -> Self {
        Self::new(vec![ApiKey::from(key)])
    }
}

impl From<String> for Verifier {
    fn from(key: String) -> Self {
        Self::from(key.as_str())
    }
}

impl From<ApiKey> for Verifier {
    fn from(key: ApiKey) -> Self {
        Self::new(vec![key])
    }
}

impl From<Vec<ApiKey>> for Verifier {
    fn from(keys: Vec<ApiKey>) -> Self {
        Self::new(keys)
    }
}

impl Verifier {
    /// Accepts requests that any of `keys` signed at most five minutes before or after the current time. Without
    /// keys, every request is rejected.
    #[must_use]
    pub fn new(keys: Vec<ApiKey>) -> Self {
        Self { keys: keys.into(), tolerance_ms: DEFAULT_TOLERANCE_MS }
    }

    /// Sets the allowed difference to the current time, in milliseconds (inclusive, in both directions).
    #[must_use]
    pub fn with_tolerance_ms(mut self, tolerance_ms: i64) -> Self {
        self.tolerance_ms = tolerance_ms;
        self
    }

    /// The keys whose signatures are accepted.
    #[must_use]
    pub fn keys(&self) -> &Arc<[ApiKey]> {
        &self.keys
    }

    /// Checks the form and the age of the header. It needs no body and can run before the body is read.
    ///
    /// # Errors
    /// [`SignatureError::MissingHeader`], [`SignatureError::MalformedHeader`] or [`SignatureError::Stale`].
    pub fn check_header(&self, header: Option<&str>, now_ms: i64) -> Result<Signature, SignatureError> {
        let signature: Signature = header.ok_or(SignatureError::MissingHeader)?.parse()?;
        let age_ms = now_ms.saturating_sub(signature.timestamp_ms);
        if age_ms.unsigned_abs() > self.tolerance_ms.unsigned_abs() {
            return Err(SignatureError::Stale(age_ms));
        }
        Ok(signature)
    }

    /// Checks that one of the keys signed `body`, and returns the fingerprint of that key. Compares in constant time.
    ///
    /// # Errors
    /// [`SignatureError::NoKeyMatched`] when no key made the signature.
    pub fn check_body(&self, signature: &Signature, body: &[u8]) -> Result<KeyFingerprint, SignatureError> {
        let digits = signature.timestamp_ms.to_string();
        self.keys
            .iter()
            .find(|key| signature.is_valid_with(key, body, &digits))
            .map(ApiKey::fingerprint)
            .ok_or(SignatureError::NoKeyMatched)
    }

    /// Checks the header and the body: [`check_header`](Self::check_header) and [`check_body`](Self::check_body).
    ///
    /// # Errors
    /// The first [`SignatureError`] that a check returns.
    pub fn verify(&self, header: Option<&str>, body: &[u8], now_ms: i64) -> Result<KeyFingerprint, SignatureError> {
        self.check_body(&self.check_header(header, now_ms)?, body)
    }
}
