//! Posts events on as they came: the same bytes, with headers as Standard Webhooks has them, and signed as Retell signs
//! where the receiver behind it wants that.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::registry::{InvalidSetting, NamedHandler};
use super::status_policy::StatusPolicy;
use super::{AttemptResult, Context, EventHandler, HandlerDeps, Outcome, RequestSigner, RetellSigner, SigningInput};
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::config::{HandlerSettings, RetellSignatureMode};
use crate::egress::{Destination, DestinationUrl, Egress, PostRequest};
use crate::storage::EventSummary;

/// More redirects than this are a loop.
const MAX_REDIRECTS: u8 = 10;

/// Posts events to one destination.
pub(crate) struct ForwardHandler {
    destination: Destination,
    options: Arc<ForwardOptions>,
    clock: Clock,
    retell_signer: Arc<dyn RetellSigner>,
}

/// What a table says of all its destinations.
struct ForwardOptions {
    request_signer: RequestSigner,
    status_policy: StatusPolicy,
    max_redirects: u8,
}

/// The handlers of a table: one, or one for each of `urls`, so that each destination has deliveries, retries and a
/// breaker of its own.
pub(super) fn build_handlers(
    table: &HandlerSettings,
    tools: &HandlerDeps,
) -> Result<Vec<NamedHandler>, InvalidSetting> {
    let (targets, rules) = parse_settings(table, &tools.egress)?;
    let rules = Arc::new(rules);
    let forward = |(name, target)| {
        let destination = tools.egress.destination(target, rules.max_redirects);
        let destination = destination.map_err(|error| ("url", error.to_string()))?;
        let (rules, clock, signer) = (Arc::clone(&rules), tools.clock.clone(), Arc::clone(&tools.retell_signer));
        let handler: Arc<dyn EventHandler> =
            Arc::new(ForwardHandler { destination, options: rules, clock, retell_signer: signer });
        Ok((name, handler))
    };
    handler_names(table).into_iter().zip(targets).map(forward).collect()
}

/// The names of a table's handlers: `crm`, or for each of `urls` `crm-1a2b3c4d` after a hash of it, so that their order
/// may change.
pub(super) fn handler_names(table: &HandlerSettings) -> Vec<String> {
    let of = |url: &Secret| format!("{}-{}", table.name, hex::encode(&Sha256::digest(url.expose())[..4]));
    if table.urls.is_empty() { vec![table.name.clone()] } else { table.urls.iter().map(of).collect() }
}

/// Refuses what could not be posted with.
pub(super) fn validate(table: &HandlerSettings, egress: &Egress) -> Result<(), InvalidSetting> {
    parse_settings(table, egress).map(drop)
}

fn parse_settings(
    table: &HandlerSettings,
    egress: &Egress,
) -> Result<(Vec<DestinationUrl>, ForwardOptions), InvalidSetting> {
    let targets = parse_urls(table, egress)?;
    let most = table.max_redirects.unwrap_or_default();
    if most > MAX_REDIRECTS {
        return Err(("max_redirects", format!("expected at most {MAX_REDIRECTS}")));
    }
    if table.success_statuses.iter().any(|status| !(200..600).contains(status)) {
        return Err(("success_statuses", "expected status codes from 200 to 599, such as [200, 202]".to_owned()));
    }
    let rules = ForwardOptions {
        request_signer: RequestSigner::new(
            table.secret.as_ref(),
            table.retell_signature.unwrap_or(RetellSignatureMode::None),
            &table.headers,
        )?,
        status_policy: StatusPolicy { success_statuses: table.success_statuses.clone(), fail_statuses: &[] },
        max_redirects: most,
    };
    Ok((targets, rules))
}

fn parse_urls(table: &HandlerSettings, egress: &Egress) -> Result<Vec<DestinationUrl>, InvalidSetting> {
    let read = |key| move |url: &Secret| egress.parse_url(url.expose()).map_err(|why| (key, why));
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

impl ForwardHandler {
    /// What says which event this is, and which attempt.
    fn event_headers(summary: &EventSummary, context: &Context, now_ms: i64) -> HeaderMap {
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
impl EventHandler for ForwardHandler {
    async fn deliver(&self, summary: &EventSummary, body: &Bytes, context: &Context) -> AttemptResult {
        let now_ms = self.clock.now_ms();
        let signed = SigningInput {
            message_id: &context.event_id,
            company: &context.company,
            original_signature: summary.signature.as_deref(),
            body,
            now_ms,
        };
        let private = match self.options.request_signer.signed_headers(&signed, &*self.retell_signer) {
            Ok(private) => private,
            Err(why) => return Outcome::retry(why).into(),
        };
        let headers = Self::event_headers(summary, context, now_ms);
        let post = PostRequest {
            headers,
            same_origin_headers: private,
            body: body.clone(),
            timeout: context.remaining_time(),
        };
        let posted = self.destination.post(post).await;
        self.options.status_policy.attempt_result(&self.destination, posted, self.clock.now_ms())
    }

    fn has_external_effects(&self) -> bool {
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

    fn validation_error(table: &HandlerSettings) -> Option<InvalidSetting> {
        validate(table, &Egress::new(&EgressSettings::default()).unwrap()).err()
    }

    #[test]
    fn what_is_refused_is_named_by_its_key_and_not_shown() {
        assert_eq!(validation_error(&table()), None);
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
            (HandlerSettings { success_statuses: vec![100], ..table() }, "success_statuses"),
            (HandlerSettings { max_redirects: Some(11), ..table() }, "max_redirects"),
        ] {
            let (found, why) = validation_error(&table).unwrap();
            assert!(found == key && !why.contains("abc"), "{key}: {found}: {why}");
        }
        assert_eq!(validation_error(&secret("whsec_YWJjYWJjYWJjYWJjYWJjYWJjYWJjYWJj")), None);
        assert_eq!(validation_error(&header("Authorization", "Bearer abc")), None);
    }

    #[test]
    fn destinations_keep_their_names_in_any_order() {
        assert_eq!(handler_names(&table()), ["crm"]);
        let of = |urls: &[&str]| {
            let urls = urls.iter().map(|url| Secret::new(*url)).collect();
            handler_names(&HandlerSettings { url: None, urls, ..table() })
        };
        let (one, other) =
            (of(&["https://a.example", "https://b.example"]), of(&["https://b.example", "https://a.example"]));
        assert_eq!(one, [other[1].clone(), other[0].clone()]);
        assert!(one[0].len() == "crm-".len() + 8 && one[0] != one[1], "{one:?}");
    }
}
