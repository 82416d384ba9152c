//! Posts a message to a Slack channel through an incoming webhook.

mod default_templates;
mod escape;
mod templates;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use serde_json::{Value, json};

use super::status_policy::StatusPolicy;
use super::{AttemptResult, Context, EventHandler, Outcome};
use crate::base::clock::Clock;
use crate::config::FieldError;
use crate::config::HandlerSettings;
use crate::egress::{Destination, DestinationUrl, Egress, PostRequest};
use crate::event::parse_json;
use crate::outbound::OutboundContext;
use crate::storage::EventSummary;
use templates::{Message, MessageTemplates};

/// The handler of kind `slack`: posts a message for each event that has a template.
pub(crate) struct SlackHandler {
    destination: Destination,
    templates: MessageTemplates,
    status_policy: StatusPolicy,
    clock: Clock,
}

impl SlackHandler {
    pub(super) fn from_settings(table: &HandlerSettings, outbound: &OutboundContext) -> Result<Self, FieldError> {
        let (url, templates) = parse_settings(table, &outbound.egress)?;
        let destination =
            outbound.egress.destination(url, 0).map_err(|error| FieldError::new("url", error.to_string()))?;
        // 400 is Slack's response to an invalid message, and the next attempt would send the same one.
        let status_policy = StatusPolicy { success_statuses: Vec::new(), fail_statuses: &[400] };
        Ok(Self { destination, templates, status_policy, clock: outbound.clock.clone() })
    }
}

/// Checks URL and templates without creating a handler.
pub(super) fn validate(table: &HandlerSettings, egress: &Egress) -> Result<(), FieldError> {
    parse_settings(table, egress).map(drop)
}

fn parse_settings(table: &HandlerSettings, egress: &Egress) -> Result<(DestinationUrl, MessageTemplates), FieldError> {
    let Some(url) = &table.url else {
        let why = "it is not set; set it to the incoming webhook of the channel, https://hooks.slack.com/services/…";
        return Err(FieldError::new("url", why));
    };
    if !table.urls.is_empty() {
        return Err(FieldError::new("urls", "slack posts to one `url`; add one table per channel"));
    }
    let destination_url = egress.parse_url(url.expose()).map_err(|why| FieldError::new("url", why))?;
    let templates = MessageTemplates::new(&table.templates).map_err(|why| FieldError::new("templates", why))?;
    Ok((destination_url, templates))
}

#[async_trait]
impl EventHandler for SlackHandler {
    async fn deliver(&self, _summary: &EventSummary, body: &Bytes, context: &Context) -> AttemptResult {
        let Some(payload @ Value::Object(_)) = parse_json(body) else {
            return Outcome::skip("no message: the body is not a JSON object, so no template has its event name")
                .into();
        };
        let text = match self.templates.render(&payload, context) {
            Ok(Message::Text(text)) => text,
            Ok(Message::None(why)) => return Outcome::skip(format!("no message: {why}")).into(),
            Err(why) => return AttemptResult::without_request(Outcome::fail(why)),
        };
        let post = PostRequest {
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
            same_origin_headers: HeaderMap::new(),
            body: message_payload(&text).to_string().into(),
            timeout: context.remaining_time(),
        };
        let posted = self.destination.post(post).await;
        self.status_policy.attempt_result(&self.destination, posted, self.clock.now_ms())
    }

    fn has_external_effects(&self) -> bool {
        true
    }
}

/// The request body for a message. `verbatim` keeps Slack from turning names and URLs in the block into links. The
/// top-level `text` is shown in notifications.
fn message_payload(text: &str) -> Value {
    json!({
        "text": text,
        "blocks": [{ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } }],
        "unfurl_links": false,
        "unfurl_media": false,
    })
}
