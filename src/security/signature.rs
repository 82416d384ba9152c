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
pub const DEFAULT_WINDOW_MS: i64 = 300_000;

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
        let mac = key.keyed.clone().chain_update(body).chain_update(timestamp_ms.to_string());
        Self { timestamp_ms, mac: mac.finalize().into_bytes().into() }
    }

    /// Whether `key` made this digest over `body` followed by `appended`. Compares in constant time.
    pub(super) fn is_over(&self, key: &ApiKey, body: &[u8], appended: &str) -> bool {
        key.keyed.clone().chain_update(body).chain_update(appended).verify_slice(&self.mac).is_ok()
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
    type Err = Refusal;

    /// Strict: ASCII digits without a leading zero, exactly 64 lower-case hex digits, nothing before or after.
    fn from_str(header: &str) -> Result<Self, Refusal> {
        let rest = header.strip_prefix("v=").ok_or(Refusal::Malformed)?;
        let (digits, digest) = rest.split_once(",d=").ok_or(Refusal::Malformed)?;
        Ok(Self { timestamp_ms: parse_timestamp(digits)?, mac: parse_digest(digest)? })
    }
}

fn parse_timestamp(digits: &str) -> Result<i64, Refusal> {
    let plain = !digits.is_empty() && digits.len() <= 19 && digits.bytes().all(|b| b.is_ascii_digit());
    if !plain || (digits.len() > 1 && digits.starts_with('0')) {
        return Err(Refusal::Malformed);
    }
    digits.parse().map_err(|_| Refusal::Malformed)
}

fn parse_digest(digest: &str) -> Result<[u8; 32], Refusal> {
    if digest.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(Refusal::Malformed);
    }
    let mut mac = [0; 32];
    hex::decode_to_slice(digest, &mut mac).map_err(|_| Refusal::Malformed)?;
    Ok(mac)
}

/// Why a request was refused. For logs and counters; the sender is told nothing but 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `X-Retell-Signature` header.
    #[error("the X-Retell-Signature header is missing")]
    Missing,
    /// The header is not `v=<digits>,d=<64 lower-case hex>`, or came more than once.
    #[error("the X-Retell-Signature header is malformed (expected v=<unix ms>,d=<64 lower-case hex digits>, once)")]
    Malformed,
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

impl Refusal {
    /// A short name for counters: `missing`, `malformed`, `stale_past`, `stale_future` or `no_key_matched`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
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
    window_ms: i64,
}

impl Verifier {
    /// Accepts what any of `keys` signed within [`DEFAULT_WINDOW_MS`]. Without keys it refuses everything.
    #[must_use]
    pub fn new(keys: Vec<ApiKey>) -> Self {
        Self { keys: keys.into(), window_ms: DEFAULT_WINDOW_MS }
    }

    /// Replaces the window (milliseconds, inclusive, in both directions).
    #[must_use]
    pub fn with_window_ms(mut self, window_ms: i64) -> Self {
        self.window_ms = window_ms;
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
    /// [`Refusal::Missing`], [`Refusal::Malformed`] or [`Refusal::Stale`].
    pub fn check_header(&self, header: Option<&str>, now_ms: i64) -> Result<Signature, Refusal> {
        let signature: Signature = header.ok_or(Refusal::Missing)?.parse()?;
        let age_ms = now_ms.saturating_sub(signature.timestamp_ms);
        if age_ms.unsigned_abs() > self.window_ms.unsigned_abs() {
            return Err(Refusal::Stale(age_ms));
        }
        Ok(signature)
    }

    /// Whether one of the keys made `signature` over `body`; says which. Compares in constant time.
    ///
    /// # Errors
    /// [`Refusal::NoKeyMatched`].
    pub fn check_body(&self, signature: &Signature, body: &[u8]) -> Result<KeyFingerprint, Refusal> {
        let digits = signature.timestamp_ms.to_string();
        self.keys
            .iter()
            .find(|key| signature.is_over(key, body, &digits))
            .map(ApiKey::fingerprint)
            .ok_or(Refusal::NoKeyMatched)
    }

    /// Both checks at once.
    ///
    /// # Errors
    /// Any [`Refusal`].
    pub fn verify(&self, header: Option<&str>, body: &[u8], now_ms: i64) -> Result<KeyFingerprint, Refusal> {
        self.check_body(&self.check_header(header, now_ms)?, body)
    }
}
