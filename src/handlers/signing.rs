//! Headers that give access to a destination and prove something to it: those of the settings, a signature as Standard
//! Webhooks has it, and one as Retell makes it.

use std::collections::BTreeMap;
use std::fmt::Display;

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::registry::InvalidSetting;

use crate::base::secret::Secret;
use crate::config::RetellSignatureMode;
use crate::security::signature::SIGNATURE_HEADER;

type StandardWebhooksMac = Hmac<Sha256>;

/// Headers that belong to the connection or that `forward` writes itself.
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

/// Signs as Retell does. The app knows the companies' keys.
pub trait RetellSigner: Send + Sync {
    /// The header's value for `body`, made with the company's first key; `None` when the company has no key.
    fn sign(&self, company: &str, body: &[u8], now_ms: i64) -> Option<String>;
}

/// How requests to a destination are signed, and what else is sent along.
pub(crate) struct RequestSigner {
    mac: Option<StandardWebhooksMac>,
    retell_signature: RetellSignatureMode,
    extra_headers: HeaderMap,
}

/// What is signed.
pub(crate) struct SigningInput<'a> {
    /// What `webhook-id` says: the event's id, or the invocation's.
    pub message_id: &'a (dyn Display + Sync),
    /// The slug of the company whose key signs as Retell does.
    pub company: &'a str,
    /// Retell's own signature.
    pub original_signature: Option<&'a str>,
    /// The bytes that are sent.
    pub body: &'a Bytes,
    /// The time that is signed, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

impl RequestSigner {
    /// Refuses a secret or a header that cannot be used.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub(crate) fn new(
        secret: Option<&Secret>,
        retell: RetellSignatureMode,
        headers: &BTreeMap<String, Secret>,
    ) -> Result<Self, InvalidSetting> {
        Ok(Self {
            mac: secret.map(parse_signing_secret).transpose().map_err(|why| ("secret", why.to_owned()))?,
            retell_signature: retell,
            extra_headers: parse_extra_headers(headers).map_err(|why| ("headers", why))?,
        })
    }

    /// The headers for one request; `webhook-id` and `webhook-timestamp` are the caller's to send.
    ///
    /// # Errors
    /// A fresh signature is wanted, and the company has no key.
    pub(crate) fn signed_headers(
        &self,
        what: &SigningInput<'_>,
        signer: &dyn RetellSigner,
    ) -> Result<HeaderMap, &'static str> {
        let mut headers = self.extra_headers.clone();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        if let Some(mac) = &self.mac {
            let before = format!("{}.{}.", what.message_id, what.now_ms / 1000);
            let mac = mac.clone().chain_update(before).chain_update(what.body).finalize().into_bytes();
            put("webhook-signature", &format!("v1,{}", BASE64_STANDARD.encode(mac)));
        }
        match self.retell_signature {
            RetellSignatureMode::None => {}
            RetellSignatureMode::Original => {
                if let Some(signature) = what.original_signature {
                    put(SIGNATURE_HEADER, signature);
                }
            }
            RetellSignatureMode::Fresh => {
                let without = "retell_signature = \"fresh\" needs an API key of the company, and there is none";
                let signature = signer.sign(what.company, what.body, what.now_ms);
                put(SIGNATURE_HEADER, &signature.ok_or(without)?);
            }
        }
        Ok(headers)
    }
}

/// `whsec_` and base64 of 24 to 64 bytes, as Standard Webhooks has it.
fn parse_signing_secret(secret: &Secret) -> Result<StandardWebhooksMac, &'static str> {
    const EXPECTED: &str =
        "expected whsec_ followed by base64 of 24 to 64 bytes; make one with: echo whsec_$(openssl rand -base64 32)";
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
        let name = text.parse::<HeaderName>().map_err(|_| "one of the names is no header's name".to_owned())?;
        let own = ["webhook-", "x-retell-webhook-"].iter().any(|prefix| name.as_str().starts_with(prefix));
        if own || RESERVED_HEADERS.contains(&name.as_str()) {
            return Err(format!("`{name}` is written by the receiver itself; leave it out"));
        }
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| format!("the value of `{name}` holds a line break or another control character"))?;
        value.set_sensitive(true);
        if headers.insert(name.clone(), value).is_some() {
            return Err(format!("`{name}` is there twice; capitals make no difference"));
        }
    }
    Ok(headers)
}
