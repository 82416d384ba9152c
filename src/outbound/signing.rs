//! Authentication headers of outgoing requests: the configured headers, a Standard Webhooks signature, and a Retell
//! signature.

use std::collections::BTreeMap;
use std::fmt::Display;

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::base::secret::Secret;
use crate::config::FieldError;
use crate::config::RetellSignatureMode;
use crate::security::signature::SIGNATURE_HEADER;

type StandardWebhooksMac = Hmac<Sha256>;

/// Headers that belong to the connection or that the receiver sets itself.
const RESERVED_HEADERS: [&str; 14] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-authorization",
    "proxy-connection",
    "user-agent",
    SIGNATURE_HEADER,
];

/// Creates Retell signatures. Implemented by the application, which has the companies' keys.
pub(crate) trait RetellSigner: Send + Sync {
    /// The value of `X-Retell-Signature` for `body`, made with the company's first API key; `None` without a key.
    fn sign(&self, company: &str, body: &[u8], now_ms: i64) -> Option<String>;
}

/// How requests to a destination are signed, and which additional headers they have.
pub(crate) struct RequestSigner {
    mac: Option<StandardWebhooksMac>,
    retell_signature: RetellSignatureMode,
    extra_headers: HeaderMap,
}

/// The input of the signatures of one request.
pub(crate) struct SigningInput<'a> {
    /// The value of `webhook-id`: the id of the event or of the invocation.
    pub message_id: &'a (dyn Display + Sync),
    /// Slug of the company whose key makes the Retell signature.
    pub company: &'a str,
    /// The signature header that Retell sent, if any.
    pub original_signature: Option<&'a str>,
    /// The body bytes as they are sent.
    pub body: &'a Bytes,
    /// The signed time in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

impl RequestSigner {
    /// Parses the secret and the additional headers.
    ///
    /// # Errors
    /// The key with the invalid value, and the reason.
    pub(crate) fn new(
        secret: Option<&Secret>,
        retell: RetellSignatureMode,
        headers: &BTreeMap<String, Secret>,
    ) -> Result<Self, FieldError> {
        Ok(Self {
            mac: secret
                .map(parse_signing_secret)
                .transpose()
                .map_err(|why| FieldError::new("secret", why.to_owned()))?,
            retell_signature: retell,
            extra_headers: parse_extra_headers(headers).map_err(|why| FieldError::new("headers", why))?,
        })
    }

    /// The headers for one request. The caller adds `webhook-id` and `webhook-timestamp`.
    ///
    /// # Errors
    /// A fresh Retell signature is configured, but the company has no API key.
    pub(crate) fn signed_headers(
        &self,
        input: &SigningInput<'_>,
        signer: &dyn RetellSigner,
    ) -> Result<HeaderMap, &'static str> {
        let mut headers = self.extra_headers.clone();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        if let Some(mac) = &self.mac {
            let before = format!("{}.{}.", input.message_id, input.now_ms / 1000);
            let mac = mac.clone().chain_update(before).chain_update(input.body).finalize().into_bytes();
            put("webhook-signature", &format!("v1,{}", BASE64_STANDARD.encode(mac)));
        }
        match self.retell_signature {
            RetellSignatureMode::None => {}
            RetellSignatureMode::Original => {
                if let Some(signature) = input.original_signature {
                    put(SIGNATURE_HEADER, signature);
                }
            }
            RetellSignatureMode::Fresh => {
                let without = "retell_signature = \"fresh\" needs an API key, but the company has none";
                let signature = signer.sign(input.company, input.body, input.now_ms);
                put(SIGNATURE_HEADER, &signature.ok_or(without)?);
            }
        }
        Ok(headers)
    }
}

/// Parses a Standard Webhooks secret: `whsec_` and base64 of 24 to 64 bytes.
fn parse_signing_secret(secret: &Secret) -> Result<StandardWebhooksMac, &'static str> {
    const EXPECTED: &str =
        "expected whsec_ followed by base64 of 24 to 64 bytes; create one with: echo whsec_$(openssl rand -base64 32)";
    let key = secret.expose().strip_prefix("whsec_").ok_or(EXPECTED)?;
    let key = BASE64_STANDARD.decode(key).map_err(|_| EXPECTED)?;
    if !(24..=64).contains(&key.len()) {
        return Err(EXPECTED);
    }
    StandardWebhooksMac::new_from_slice(&key).map_err(|_| EXPECTED)
}

fn parse_extra_headers(given: &BTreeMap<String, Secret>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (text, value) in given {
        let name = text.parse::<HeaderName>().map_err(|_| "one of the names is not a valid header name".to_owned())?;
        let is_own = ["webhook-", "x-retell-webhook-"].iter().any(|prefix| name.as_str().starts_with(prefix));
        if is_own || RESERVED_HEADERS.contains(&name.as_str()) {
            return Err(format!("`{name}` is set by the receiver; remove it"));
        }
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| format!("the value of `{name}` contains a line break or another control character"))?;
        // Keeps the value out of debug output.
        value.set_sensitive(true);
        if headers.insert(name.clone(), value).is_some() {
            return Err(format!("`{name}` is set twice; header names are case-insensitive"));
        }
    }
    Ok(headers)
}
