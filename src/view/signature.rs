//! The result of checking a signature.

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct SignatureCheckView {
    pub valid: bool,
    /// The key that made a valid signature.
    pub key_fingerprint: Option<String>,
    /// Why the signature is not valid.
    pub diagnosis: Option<String>,
    /// Whether the body was too large to look for changes that explain an invalid signature.
    pub body_too_large: bool,
}
