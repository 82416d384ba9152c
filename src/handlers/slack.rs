//! Posts a message to a Slack channel through an incoming webhook.

mod default_templates;
mod escape;
mod templates;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use serde_json::{Value, json};

use super::registry::InvalidSetting;
use super::status_policy::StatusPolicy;
use super::{AttemptResult, Context, EventHandler, HandlerDeps, Outcome};
use crate::base::clock::Clock;
use crate::config::HandlerSettings;
use crate::egress::{Destination, DestinationUrl, Egress, PostRequest};
use crate::storage::EventSummary;
use templates::MessageTemplates;

/// Posts a message for each event that has a template.
pub(crate) struct SlackHandler {
    destination: Destination,
    templates: MessageTemplates,
    status_policy: StatusPolicy,
    clock: Clock,
}

impl SlackHandler {
    pub(super) fn from_settings(table: &HandlerSettings, tools: &HandlerDeps) -> Result<Self, InvalidSetting> {
        let (target, templates) = parse_settings(table, &tools.egress)?;
        let destination = tools.egress.destination(target, 0).map_err(|error| ("url", error.to_string()))?;
        // 400 is about the message, which would be the same the next time.
        let codes = StatusPolicy { success_statuses: Vec::new(), fail_statuses: &[400] };
        Ok(Self { destination, templates, status_policy: codes, clock: tools.clock.clone() })
    }
}

/// Refuses a URL or a template that would not do.
pub(super) fn validate(table: &HandlerSettings, egress: &Egress) -> Result<(), InvalidSetting> {
    parse_settings(table, egress).map(drop)
}

fn parse_settings(
    table: &HandlerSettings,
    egress: &Egress,
) -> Result<(DestinationUrl, MessageTemplates), InvalidSetting> {
    let Some(url) = &table.url else {
        let why = "set it to the channel's incoming webhook, https://hooks.slack.com/services/…";
        return Err(("url", why.to_owned()));
    };
    if !table.urls.is_empty() {
        return Err(("urls", "slack posts to one url; write a table for each channel".to_owned()));
    }
    let target = egress.parse_url(url.expose()).map_err(|why| ("url", why))?;
    let templates = MessageTemplates::new(&table.templates).map_err(|why| ("templates", why))?;
    Ok((target, templates))
}

#[async_trait]
impl EventHandler for SlackHandler {
    async fn deliver(&self, _summary: &EventSummary, body: &Bytes, context: &Context) -> AttemptResult {
        let Ok(payload @ Value::Object(_)) = serde_json::from_slice(body) else { return Outcome::Done.into() };
        let text = match self.templates.render(&payload, context) {
            Ok(Some(text)) => text,
            Ok(None) => return Outcome::Done.into(),
            Err(why) => return Outcome::fail(why).into(),
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

/// A block that is shown as it is written: names and addresses in it are not made into links. `text` is what
/// notifications show.
fn message_payload(text: &str) -> Value {
    json!({
        "text": text,
        "blocks": [{ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } }],
        "unfurl_links": false,
        "unfurl_media": false,
    })
}
