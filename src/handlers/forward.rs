//! Posts events on as they came: the same bytes, with headers as Standard Webhooks has them, and signed as Retell signs
//! where the receiver behind it wants that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::answered::Codes;
use super::registry::{Named, Refused};
use super::{Attempt, Context, EventHandler, Outcome, Tools};
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::config::{HandlerSettings, RetellSignature};
use crate::egress::{Destination, Egress, Post, Target};
use crate::security::signature::SIGNATURE_HEADER;
use crate::storage::EventSummary;

/// Signs as Standard Webhooks have it.
pub type StandardMac = Hmac<Sha256>;

/// More redirects than this are a loop.
const MOST_REDIRECTS: u8 = 10;

/// Headers that belong to the connection or that `forward` writes itself.
const TAKEN: [&str; 14] = [
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
pub trait Signer: Send + Sync {
    /// The header's value for `body`, made with the company's first key; `None` when the company has no key.
    fn sign(&self, company: &str, body: &[u8], now_ms: i64) -> Option<String>;
}

/// Posts events to one destination.
pub struct Forward {
    destination: Destination,
    rules: Arc<Rules>,
    clock: Clock,
    signer: Arc<dyn Signer>,
}

/// What a table says of all its destinations.
struct Rules {
    mac: Option<StandardMac>,
    retell: RetellSignature,
    headers: HeaderMap,
    codes: Codes,
    redirects: u8,
}

/// The handlers of a table: one, or one for each of `urls`, so that each destination has deliveries, retries and a
/// breaker of its own.
pub(super) fn made(table: &HandlerSettings, tools: &Tools) -> Result<Vec<Named>, Refused> {
    let (targets, rules) = checked(table, &tools.egress)?;
    let rules = Arc::new(rules);
    let forward = |(name, target)| {
        let destination = tools.egress.destination(target, rules.redirects);
        let destination = destination.map_err(|error| ("url", error.to_string()))?;
        let (rules, clock, signer) = (Arc::clone(&rules), tools.clock.clone(), Arc::clone(&tools.signer));
        let handler: Arc<dyn EventHandler> = Arc::new(Forward { destination, rules, clock, signer });
        Ok((name, handler))
    };
    names(table).into_iter().zip(targets).map(forward).collect()
}

/// The names of a table's handlers: `crm`, or for each of `urls` `crm-1a2b3c4d` after a hash of it, so that their order
/// may change.
pub(super) fn names(table: &HandlerSettings) -> Vec<String> {
    let of = |url: &Secret| format!("{}-{}", table.name, hex::encode(&Sha256::digest(url.expose())[..4]));
    if table.urls.is_empty() { vec![table.name.clone()] } else { table.urls.iter().map(of).collect() }
}

/// Refuses what could not be posted with.
pub(super) fn check(table: &HandlerSettings, egress: &Egress) -> Result<(), Refused> {
    checked(table, egress).map(drop)
}

fn checked(table: &HandlerSettings, egress: &Egress) -> Result<(Vec<Target>, Rules), Refused> {
    let targets = targets(table, egress)?;
    let most = table.redirects.unwrap_or_default();
    if most > MOST_REDIRECTS {
        return Err(("redirects", format!("expected at most {MOST_REDIRECTS}")));
    }
    if table.success.iter().any(|status| !(200..600).contains(status)) {
        return Err(("success", "expected status codes from 200 to 599, such as [200, 202]".to_owned()));
    }
    let rules = Rules {
        mac: table.secret.as_ref().map(mac).transpose().map_err(|why| ("secret", why.to_owned()))?,
        retell: table.retell_signature.unwrap_or(RetellSignature::None),
        headers: headers(&table.headers).map_err(|why| ("headers", why))?,
        codes: Codes { success: table.success.clone(), fail: &[] },
        redirects: most,
    };
    Ok((targets, rules))
}

fn targets(table: &HandlerSettings, egress: &Egress) -> Result<Vec<Target>, Refused> {
    let read = |key| move |url: &Secret| egress.target(url.expose()).map_err(|why| (key, why));
    match (&table.url, table.urls.as_slice()) {
        (None, []) => Err(("url", "where should it go? Set url, or urls for several destinations".to_owned())),
        (Some(_), [_, ..]) => Err(("urls", "set either url or urls, not both".to_owned())),
        (Some(url), []) => Ok(vec![read("url")(url)?]),
        (None, urls) if urls.iter().map(Secret::expose).collect::<BTreeSet<_>>().len() < urls.len() => {
            Err(("urls", "one of them is there twice: its receiver would get each event twice".to_owned()))
        }
        (None, urls) => urls.iter().map(read("urls")).collect(),
    }
}

/// The key in `whsec_` and base64 of 24 to 64 bytes, as Standard Webhooks has it.
///
/// # Errors
/// What is wrong with it.
pub fn mac(secret: &Secret) -> Result<StandardMac, &'static str> {
    const FORM: &str =
        "expected whsec_ followed by base64 of 24 to 64 bytes; make one with: echo whsec_$(openssl rand -base64 32)";
    let key = secret.expose().strip_prefix("whsec_").ok_or(FORM)?;
    let key = BASE64_STANDARD.decode(key).map_err(|_| FORM)?;
    if !(24..=64).contains(&key.len()) {
        return Err(FORM);
    }
    StandardMac::new_from_slice(&key).map_err(|_| FORM)
}

/// Headers to add to requests.
///
/// # Errors
/// The one that is refused, and why.
pub fn headers(table: &BTreeMap<String, Secret>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (text, value) in table {
        let name = text.parse::<HeaderName>().map_err(|_| "one of the names is no header's name".to_owned())?;
        let own = ["webhook-", "x-retell-webhook-"].iter().any(|prefix| name.as_str().starts_with(prefix));
        if own || TAKEN.contains(&name.as_str()) {
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

/// The value of `webhook-signature` for a body sent under this id.
#[must_use]
pub fn standard_signature(mac: &StandardMac, id: &impl Display, now_ms: i64, body: &[u8]) -> String {
    let signed = format!("{id}.{}.", now_ms / 1000);
    let mac = mac.clone().chain_update(signed).chain_update(body).finalize().into_bytes();
    format!("v1,{}", BASE64_STANDARD.encode(mac))
}

impl Forward {
    /// What says which event this is, and which attempt.
    fn about(summary: &EventSummary, context: &Context, now_ms: i64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put("webhook-id", &context.event_id.to_string());
        put("webhook-timestamp", &(now_ms / 1000).to_string());
        put("x-retell-webhook-company", &context.company);
        put("x-retell-webhook-attempt", &context.attempt.to_string());
        if let Some(revised) = context.revision_of {
            put("x-retell-webhook-revision", &revised.to_string());
        }
        if context.replay {
            put("x-retell-webhook-replay", "true");
        }
        if let Some(content_type) = &summary.content_type {
            put(CONTENT_TYPE.as_str(), content_type);
        }
        headers
    }

    /// What gives access, and what proves something to the destination.
    fn private(
        &self,
        summary: &EventSummary,
        body: &Bytes,
        context: &Context,
        now_ms: i64,
    ) -> Result<HeaderMap, Outcome> {
        let mut headers = self.rules.headers.clone();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        if let Some(mac) = &self.rules.mac {
            put("webhook-signature", &standard_signature(mac, &context.event_id, now_ms, body));
        }
        match self.rules.retell {
            RetellSignature::None => {}
            RetellSignature::Original => {
                if let Some(signature) = &summary.signature {
                    put(SIGNATURE_HEADER, signature);
                }
            }
            RetellSignature::Fresh => {
                let without = "retell_signature = \"fresh\" needs an API key of the company, and there is none";
                let signature = self.signer.sign(&context.company, body, now_ms);
                put(SIGNATURE_HEADER, &signature.ok_or_else(|| Outcome::retry(without))?);
            }
        }
        Ok(headers)
    }
}

#[async_trait]
impl EventHandler for Forward {
    async fn deliver(&self, summary: &EventSummary, body: &Bytes, context: &Context) -> Attempt {
        let now_ms = self.clock.now_ms();
        let private = match self.private(summary, body, context, now_ms) {
            Ok(private) => private,
            Err(outcome) => return outcome.into(),
        };
        let headers = Self::about(summary, context, now_ms);
        let post = Post { headers, private, body: body.clone(), within: context.time_left() };
        let posted = self.destination.post(post).await;
        self.rules.codes.attempt(&self.destination, posted, self.clock.now_ms())
    }

    fn has_outside_effects(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EgressSettings, HandlerKind};

    fn table() -> HandlerSettings {
        let url = Some(Secret::new("https://example.com/hook?token=abc"));
        HandlerSettings { url, ..HandlerSettings::new("crm", HandlerKind::Forward) }
    }

    fn refused(table: &HandlerSettings) -> Option<Refused> {
        check(table, &Egress::new(&EgressSettings::default()).unwrap()).err()
    }

    #[test]
    fn what_is_refused_is_named_by_its_key_and_not_shown() {
        assert_eq!(refused(&table()), None);
        let secret = |text: &str| HandlerSettings { secret: Some(Secret::new(text)), ..table() };
        let header = |name: &str, value: &str| HandlerSettings {
            headers: [(name.to_owned(), Secret::new(value))].into(),
            ..table()
        };
        let urls = |urls: &[&str]| urls.iter().map(|url| Secret::new(*url)).collect::<Vec<_>>();
        let none = HandlerSettings { url: None, ..table() };
        for (table, key) in [
            (none.clone(), "url"),
            (HandlerSettings { url: Some(Secret::new("example.com/abc")), ..table() }, "url"),
            (HandlerSettings { url: Some(Secret::new("http://169.254.169.254/abc")), ..table() }, "url"),
            (HandlerSettings { urls: urls(&["https://b.example"]), ..table() }, "urls"),
            (HandlerSettings { urls: urls(&["https://a.example", "https://a.example"]), ..none.clone() }, "urls"),
            (HandlerSettings { urls: urls(&["https://a.example", "abc"]), ..none }, "urls"),
            (secret("abcdefghijklmnopqrstuvwxyzabcdefghij"), "secret"),
            (secret("whsec_abc"), "secret"),
            (secret("whsec_YWJj"), "secret"),
            (secret("whpk_YWJjYWJjYWJjYWJjYWJjYWJjYWJjYWJj"), "secret"),
            (header("Host", "abc"), "headers"),
            (header("content-length", "abc"), "headers"),
            (header("Webhook-Id", "abc"), "headers"),
            (header("X-Retell-Signature", "abc"), "headers"),
            (header("x y", "abc"), "headers"),
            (header("authorization", "abc\r\nx: y"), "headers"),
            (HandlerSettings { success: vec![100], ..table() }, "success"),
            (HandlerSettings { redirects: Some(11), ..table() }, "redirects"),
        ] {
            let (found, why) = refused(&table).unwrap();
            assert!(found == key && !why.contains("abc"), "{key}: {found}: {why}");
        }
        assert_eq!(refused(&secret("whsec_YWJjYWJjYWJjYWJjYWJjYWJjYWJjYWJj")), None);
        assert_eq!(refused(&header("Authorization", "Bearer abc")), None);
    }

    #[test]
    fn destinations_keep_their_names_in_any_order() {
        assert_eq!(names(&table()), ["crm"]);
        let of = |urls: &[&str]| {
            let urls = urls.iter().map(|url| Secret::new(*url)).collect();
            names(&HandlerSettings { url: None, urls, ..table() })
        };
        let (one, other) =
            (of(&["https://a.example", "https://b.example"]), of(&["https://b.example", "https://a.example"]));
        assert_eq!(one, [other[1].clone(), other[0].clone()]);
        assert!(one[0].len() == "crm-".len() + 8 && one[0] != one[1], "{one:?}");
    }
}
