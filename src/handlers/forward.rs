//! Posts events on as they came: the same bytes, with headers as Standard Webhooks has them, and signed as Retell signs
//! where the receiver behind it wants that.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::answered::Codes;
use super::registry::{Named, Refused};
use super::{Attempt, Context, EventHandler, Outcome, Signed, Signer, Signing, Tools};
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::config::{HandlerSettings, RetellSignature};
use crate::egress::{Destination, Egress, Post, Target};
use crate::storage::EventSummary;

/// More redirects than this are a loop.
const MOST_REDIRECTS: u8 = 10;

/// Posts events to one destination.
pub struct Forward {
    destination: Destination,
    rules: Arc<Rules>,
    clock: Clock,
    signer: Arc<dyn Signer>,
}

/// What a table says of all its destinations.
struct Rules {
    signing: Signing,
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
        signing: Signing::new(
            table.secret.as_ref(),
            table.retell_signature.unwrap_or(RetellSignature::None),
            &table.headers,
        )?,
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
}

#[async_trait]
impl EventHandler for Forward {
    async fn deliver(&self, summary: &EventSummary, body: &Bytes, context: &Context) -> Attempt {
        let now_ms = self.clock.now_ms();
        let signed = Signed {
            id: &context.event_id,
            company: &context.company,
            original: summary.signature.as_deref(),
            body,
            now_ms,
        };
        let private = match self.rules.signing.headers(&signed, &*self.signer) {
            Ok(private) => private,
            Err(why) => return Outcome::retry(why).into(),
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
