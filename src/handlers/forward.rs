//! Posts events to other servers: the original bytes, with Standard Webhooks headers, and optionally with a Retell
//! signature.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::registry::NamedHandler;
use super::status_policy::StatusPolicy;
use super::{AttemptResult, Context, EventHandler, Outcome};
use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::config::FieldError;
use crate::config::{HandlerSettings, RetellSignatureMode};
use crate::egress::{Destination, DestinationUrl, Egress, PostRequest};
use crate::outbound::{OutboundContext, RequestSigner, RetellSigner, SigningInput};
use crate::storage::EventSummary;

/// A longer chain of redirects is most likely a loop.
const MAX_REDIRECTS: u8 = 10;

/// The handler of kind `forward`: posts events to one destination.
pub(crate) struct ForwardHandler {
    destination: Destination,
    options: Arc<ForwardOptions>,
    clock: Clock,
    retell_signer: Arc<dyn RetellSigner>,
}

/// Settings that all destinations of a table share.
struct ForwardOptions {
    request_signer: RequestSigner,
    status_policy: StatusPolicy,
    max_redirects: u8,
}

/// The handlers of a table: one, or one per entry of `urls`, so that each destination has separate deliveries,
/// retries and a separate circuit breaker.
pub(super) fn build_handlers(
    table: &HandlerSettings,
    outbound: &OutboundContext,
) -> Result<Vec<NamedHandler>, FieldError> {
    let (urls, options) = parse_settings(table, &outbound.egress)?;
    let options = Arc::new(options);
    let mut handlers: Vec<NamedHandler> = Vec::new();
    for (name, url) in handler_names(table).into_iter().zip(urls) {
        let destination = outbound.egress.destination(url, options.max_redirects);
        let handler = ForwardHandler {
            destination: destination.map_err(|error| FieldError::new("url", error.to_string()))?,
            options: Arc::clone(&options),
            clock: outbound.clock.clone(),
            retell_signer: Arc::clone(&outbound.retell_signer),
        };
        handlers.push((name, Arc::new(handler)));
    }
    Ok(handlers)
}

/// The names of a table's handlers: `crm`, or one per entry of `urls` such as `crm-1a2b3c4d`. The suffix is a hash of
/// the URL, so a destination keeps its name, and with it its deliveries, when the order of `urls` changes.
pub(super) fn handler_names(table: &HandlerSettings) -> Vec<String> {
    let name_of = |url: &Secret| format!("{}-{}", table.name, hex::encode(&Sha256::digest(url.expose())[..4]));
    if table.urls.is_empty() { vec![table.name.clone()] } else { table.urls.iter().map(name_of).collect() }
}

/// Checks the table without creating a handler.
pub(super) fn validate(table: &HandlerSettings, egress: &Egress) -> Result<(), FieldError> {
    parse_settings(table, egress).map(drop)
}

fn parse_settings(
    table: &HandlerSettings,
    egress: &Egress,
) -> Result<(Vec<DestinationUrl>, ForwardOptions), FieldError> {
    let urls = parse_urls(table, egress)?;
    let max_redirects = table.max_redirects.unwrap_or_default();
    if max_redirects > MAX_REDIRECTS {
        return Err(FieldError::new(
            "max_redirects",
            format!("{max_redirects} is out of range; expected at most {MAX_REDIRECTS}"),
        ));
    }
    if table.success_statuses.iter().any(|status| !(200..600).contains(status)) {
        return Err(FieldError::new("success_statuses", "expected status codes from 200 to 599, such as [200, 202]"));
    }
    let options = ForwardOptions {
        request_signer: RequestSigner::new(
            table.secret.as_ref(),
            table.retell_signature.unwrap_or(RetellSignatureMode::None),
            &table.headers,
        )?,
        status_policy: StatusPolicy { success_statuses: table.success_statuses.clone(), fail_statuses: &[] },
        max_redirects,
    };
    Ok((urls, options))
}

fn parse_urls(table: &HandlerSettings, egress: &Egress) -> Result<Vec<DestinationUrl>, FieldError> {
    let parse = |key, url: &Secret| egress.parse_url(url.expose()).map_err(|why| FieldError::new(key, why));
    match (&table.url, table.urls.as_slice()) {
        (None, []) => Err(FieldError::new("url", "it is not set; set `url`, or `urls` for several destinations")),
        (Some(_), [_, ..]) => Err(FieldError::new("urls", "both are set; set either url or urls")),
        (Some(url), []) => Ok(vec![parse("url", url)?]),
        (None, urls) => {
            let distinct: BTreeSet<&str> = urls.iter().map(Secret::expose).collect();
            if distinct.len() < urls.len() {
                let why = "one URL is listed twice, so its destination would receive each event twice; remove one";
                return Err(FieldError::new("urls", why));
            }
            urls.iter().map(|url| parse("urls", url)).collect()
        }
    }
}

impl ForwardHandler {
    /// The headers that identify the event and the attempt. They are sent wherever redirects lead, unlike signatures.
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
        let input = SigningInput {
            message_id: &context.event_id,
            company: &context.company,
            original_signature: summary.signature.as_deref(),
            body,
            now_ms,
        };
        let signed_headers = match self.options.request_signer.signed_headers(&input, &*self.retell_signer) {
            Ok(headers) => headers,
            // A key may be added by a reload, so the delivery is retried.
            Err(why) => return AttemptResult::without_request(Outcome::retry(why)),
        };
        let post = PostRequest {
            headers: Self::event_headers(summary, context, now_ms),
            same_origin_headers: signed_headers,
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

    fn validation_error(table: &HandlerSettings) -> Option<FieldError> {
        validate(table, &Egress::new(&EgressSettings::default())).err()
    }

    #[test]
    fn invalid_values_are_refused_by_key_and_not_shown() {
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
            let error = validation_error(&table).unwrap();
            let (actual, why) = (error.key(), error.problem());
            assert!(actual == key && !why.contains("abc"), "{key}: {actual}: {why}");
        }
        assert_eq!(validation_error(&secret("whsec_YWJjYWJjYWJjYWJjYWJjYWJjYWJjYWJj")), None);
        assert_eq!(validation_error(&header("Authorization", "Bearer abc")), None);
    }

    #[test]
    fn destinations_keep_their_names_when_the_order_changes() {
        assert_eq!(handler_names(&table()), ["crm"]);
        let names_of = |urls: &[&str]| {
            let urls = urls.iter().map(|url| Secret::new(*url)).collect();
            handler_names(&HandlerSettings { url: None, urls, ..table() })
        };
        let (one, other) = (
            names_of(&["https://a.example", "https://b.example"]),
            names_of(&["https://b.example", "https://a.example"]),
        );
        assert_eq!(one, [other[1].clone(), other[0].clone()]);
        assert!(one[0].len() == "crm-".len() + 8 && one[0] != one[1], "{one:?}");
    }
}
