//! Posts a message to a Slack channel through an incoming webhook.

mod escape;
mod message;
mod templates;

use async_trait::async_trait;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use serde_json::{Value, json};

use super::answered::Codes;
use super::registry::Refused;
use super::{Attempt, Context, EventHandler, Outcome, Tools};
use crate::base::clock::Clock;
use crate::config::HandlerSettings;
use crate::egress::{Destination, Egress, Post, Target};
use crate::storage::EventSummary;
use templates::Templates;

/// Posts a message for each event that has a template.
pub struct Slack {
    destination: Destination,
    templates: Templates,
    codes: Codes,
    clock: Clock,
}

impl Slack {
    pub(super) fn made(table: &HandlerSettings, tools: &Tools) -> Result<Self, Refused> {
        let (target, templates) = checked(table, &tools.egress)?;
        let destination = tools.egress.destination(target, 0).map_err(|error| ("url", error.to_string()))?;
        // 400 is about the message, which would be the same the next time.
        let codes = Codes { success: Vec::new(), fail: &[400] };
        Ok(Self { destination, templates, codes, clock: tools.clock.clone() })
    }
}

/// Refuses a URL or a template that would not do.
pub(super) fn check(table: &HandlerSettings, egress: &Egress) -> Result<(), Refused> {
    checked(table, egress).map(drop)
}

fn checked(table: &HandlerSettings, egress: &Egress) -> Result<(Target, Templates), Refused> {
    let Some(url) = &table.url else {
        let why = "set it to the channel's incoming webhook, https://hooks.slack.com/services/…";
        return Err(("url", why.to_owned()));
    };
    if !table.urls.is_empty() {
        return Err(("urls", "slack posts to one url; write a table for each channel".to_owned()));
    }
    let target = egress.target(url.expose()).map_err(|why| ("url", why))?;
    let templates = Templates::new(&table.templates).map_err(|why| ("templates", why))?;
    Ok((target, templates))
}

#[async_trait]
impl EventHandler for Slack {
    async fn deliver(&self, _summary: &EventSummary, body: &Bytes, context: &Context) -> Attempt {
        let Ok(payload @ Value::Object(_)) = serde_json::from_slice(body) else { return Outcome::Done.into() };
        let text = match self.templates.render(&payload, context) {
            Ok(Some(text)) => text,
            Ok(None) => return Outcome::Done.into(),
            Err(why) => return Outcome::fail(why).into(),
        };
        let post = Post {
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
            private: HeaderMap::new(),
            body: message(&text).to_string().into(),
            within: context.time_left(),
        };
        let posted = self.destination.post(post).await;
        self.codes.attempt(&self.destination, posted, self.clock.now_ms())
    }

    fn has_outside_effects(&self) -> bool {
        true
    }
}

/// A block that is shown as it is written: names and addresses in it are not made into links. `text` is what
/// notifications show.
fn message(text: &str) -> Value {
    json!({
        "text": text,
        "blocks": [{ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } }],
        "unfurl_links": false,
        "unfurl_media": false,
    })
}
