//! Retell's request signature: `X-Retell-Signature: v=<unix ms>,d=<64 lower-case hex>`.
//!
//! The digest is HMAC-SHA256 over the raw body bytes followed by the decimal digits of `v`, keyed with the UTF-8
//! bytes of the API key that carries the webhook badge. Retell's own SDKs refuse a `v` more than five minutes away
//! from now, in either direction. Checked against vectors made with both SDKs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hmac::Mac;

use super::keys::{ApiKey, KeyFingerprint};

/// The header's name, lower-case as HTTP libraries keep it.
pub const SIGNATURE_HEADER: &str = "x-retell-signature";

/// Five minutes in milliseconds: how far from now a signature's time may be (inclusive) in Retell's SDKs.
pub(crate) const DEFAULT_TOLERANCE_MS: i64 = 300_000;

/// A signature header taken apart; not yet checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    timestamp_ms: i64,
    mac: [u8; 32],
}

impl Signature {
    /// When the sender signed, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// Signs `body` as Retell does. Write it into the header with `to_string()`.
    #[must_use]
    pub fn sign(key: &ApiKey, body: &[u8], timestamp_ms: i64) -> Self {
        let mac = key.keyed_mac.clone().chain_update(body).chain_update(timestamp_ms.to_string());
        Self { timestamp_ms, mac: mac.finalize().into_bytes().into() }
    }

    /// Whether `key` made this digest over `body` followed by `appended`. Compares in constant time.
    pub(super) fn is_valid_with(&self, key: &ApiKey, body: &[u8], appended: &str) -> bool {
        key.keyed_mac.clone().chain_update(body).chain_update(appended).verify_slice(&self.mac).is_ok()
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

    /// Strict: ASCII digits without a leading zero, exactly 64 lower-case hex digits, nothing before or after.
    fn from_str(header: &str) -> Result<Self, SignatureError> {
        let rest = header.strip_prefix("v=").ok_or(SignatureError::MalformedHeader)?;
        let (digits, digest) = rest.split_once(",d=").ok_or(SignatureError::MalformedHeader)?;
        Ok(Self { timestamp_ms: parse_timestamp(digits)?, mac: parse_digest(digest)? })
    }
}

fn parse_timestamp(digits: &str) -> Result<i64, SignatureError> {
    let plain = !digits.is_empty() && digits.len() <= 19 && digits.bytes().all(|b| b.is_ascii_digit());
    if !plain || (digits.len() > 1 && digits.starts_with('0')) {
        return Err(SignatureError::MalformedHeader);
    }
    digits.parse().map_err(|_| SignatureError::MalformedHeader)
}

fn parse_digest(digest: &str) -> Result<[u8; 32], SignatureError> {
    if digest.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(SignatureError::MalformedHeader);
    }
    let mut mac = [0; 32];
    hex::decode_to_slice(digest, &mut mac).map_err(|_| SignatureError::MalformedHeader)?;
    Ok(mac)
}

/// Why a request was refused. For logs and counters; the sender is told nothing but 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No `X-Retell-Signature` header.
    #[error("the X-Retell-Signature header is missing")]
    MissingHeader,
    /// The header is not `v=<digits>,d=<64 lower-case hex>`, or came more than once.
    #[error("the X-Retell-Signature header is malformed (expected v=<unix ms>,d=<64 lower-case hex digits>, once)")]
    MalformedHeader,
    /// Signed too long ago, or too far in the future.
    #[error("the signature is stale: signed {} ms {}", .0.unsigned_abs(), if *.0 >= 0 { "ago" } else { "in the future" })]
    Stale(
        /// Now minus the signature's time, in milliseconds: negative means signed in the future.
        i64,
    ),
    /// Well-formed and fresh, but none of the keys made it.
    #[error("no configured key made this signature (wrong key, or the body was changed on its way)")]
    NoKeyMatched,
}

impl SignatureError {
    /// A short name for counters: `missing`, `malformed`, `stale_past`, `stale_future` or `no_key_matched`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing",
            Self::MalformedHeader => "malformed",
            Self::Stale(age) if age >= 0 => "stale_past",
            Self::Stale(_) => "stale_future",
            Self::NoKeyMatched => "no_key_matched",
        }
    }
}

/// Checks signatures against one or more keys.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Arc<[ApiKey]>,
    tolerance_ms: i64,
}

impl Verifier {
    /// Accepts what any of `keys` signed within [`DEFAULT_WINDOW_MS`]. Without keys it refuses everything.
    #[must_use]
    pub fn new(keys: Vec<ApiKey>) -> Self {
        Self { keys: keys.into(), tolerance_ms: DEFAULT_TOLERANCE_MS }
    }

    /// Replaces the window (milliseconds, inclusive, in both directions).
    #[must_use]
    pub fn with_tolerance_ms(mut self, tolerance_ms: i64) -> Self {
        self.tolerance_ms = tolerance_ms;
        self
    }

    /// The keys it accepts.
    #[must_use]
    pub fn keys(&self) -> &Arc<[ApiKey]> {
        &self.keys
    }

    /// The part that needs no body: form and freshness. Done before the body is read.
    ///
    /// # Errors
    /// [`SignatureError::Missing`], [`SignatureError::Malformed`] or [`SignatureError::Stale`].
    pub fn check_header(&self, header: Option<&str>, now_ms: i64) -> Result<Signature, SignatureError> {
        let signature: Signature = header.ok_or(SignatureError::MissingHeader)?.parse()?;
        let age_ms = now_ms.saturating_sub(signature.timestamp_ms);
        if age_ms.unsigned_abs() > self.tolerance_ms.unsigned_abs() {
            return Err(SignatureError::Stale(age_ms));
        }
        Ok(signature)
    }

    /// Whether one of the keys made `signature` over `body`; says which. Compares in constant time.
    ///
    /// # Errors
    /// [`SignatureError::NoKeyMatched`].
    pub fn check_body(&self, signature: &Signature, body: &[u8]) -> Result<KeyFingerprint, SignatureError> {
        let digits = signature.timestamp_ms.to_string();
        self.keys
            .iter()
            .find(|key| signature.is_valid_with(key, body, &digits))
            .map(ApiKey::fingerprint)
            .ok_or(SignatureError::NoKeyMatched)
    }

    /// Both checks at once.
    ///
    /// # Errors
    /// Any [`SignatureError`].
    pub fn verify(&self, header: Option<&str>, body: &[u8], now_ms: i64) -> Result<KeyFingerprint, SignatureError> {
        self.check_body(&self.check_header(header, now_ms)?, body)
    }
}
