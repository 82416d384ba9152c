//! Plays a call: it starts, ends and is analyzed, and its signed webhooks are posted in this order.

use std::time::Duration;

use serde_json::{Value, json};
use url::{Host, Url};

use super::server::FakeServer;
use super::versions::DocumentFields;
use super::workspace::{Workspace, Workspaces};
use crate::base::clock::Clock;
use crate::egress::{self, Client, ClientBuildError};
use crate::security::keys::ApiKey;
use crate::security::signature::{SIGNATURE_HEADER, Signature};

/// Retell's own timeout of a webhook.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_DURATION_MS: i64 = 42_000;
const EVENTS: [&str; 3] = ["call_started", "call_ended", "call_analyzed"];

/// A webhook that was posted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PlayedEvent {
    pub(crate) event: &'static str,
    /// Status of the answer; `None` when there was none. The fake does not retry.
    pub(crate) status: Option<u16>,
}

/// Why the webhooks of a call were not posted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlayError {
    #[error("call {0} not found in any workspace")]
    UnknownCall(String),
    #[error("neither agent {0} nor its workspace has a webhook URL; set `webhook_url` of one of them")]
    NoWebhookUrl(String),
    #[error("webhook URL {0}: not an address of this machine; use http://127.0.0.1 or http://localhost")]
    NotLocal(String),
    #[error("no key of workspace {0} has the webhook badge")]
    NoWebhookKey(String),
    #[error(transparent)]
    Client(#[from] ClientBuildError),
}

/// Where the webhooks of a call go, and how they are signed.
struct WebhookTarget {
    url: Url,
    key: ApiKey,
    /// Names of the events that the agent wants.
    events: Vec<&'static str>,
}

/// Ends the call `call_id` and posts its webhooks to the effective URL of its agent version.
///
/// # Errors
/// The call is unknown, or the webhooks cannot be sent; the call is then unchanged.
pub(super) async fn play_call(server: &FakeServer, call_id: &str) -> Result<Vec<PlayedEvent>, PlayError> {
    let target = webhook_target(&mut server.lock_workspaces(), call_id)?;
    let client = egress::build_client(WEBHOOK_TIMEOUT)?;
    let mut played = Vec::new();
    for event in EVENTS {
        let call = advance(&mut server.lock_workspaces(), call_id, event);
        if target.events.contains(&event) {
            let status = post(&client, &target, &server.clock, &json!({ "event": event, "call": call })).await;
            played.push(PlayedEvent { event, status });
        }
    }
    Ok(played)
}

fn webhook_target(workspaces: &mut Workspaces, call_id: &str) -> Result<WebhookTarget, PlayError> {
    let unknown_call = || PlayError::UnknownCall(call_id.to_owned());
    let workspace = workspaces.with_call(call_id).ok_or_else(unknown_call)?;
    let call = workspace.calls.get(call_id).ok_or_else(unknown_call)?;
    let agent = agent_version_of(workspace, call);
    let agent_id = call.get("agent_id").and_then(Value::as_str).unwrap_or_default();
    let url = effective_webhook_url(workspace, agent).ok_or_else(|| PlayError::NoWebhookUrl(agent_id.to_owned()))?;
    let url = local_url(url).ok_or_else(|| PlayError::NotLocal(url.to_owned()))?;
    let secret = workspace.webhook_secret().ok_or_else(|| PlayError::NoWebhookKey(workspace.org_id.clone()))?;
    Ok(WebhookTarget { url, key: ApiKey::from(secret), events: wanted_events(agent) })
}

fn agent_version_of<'a>(workspace: &'a Workspace, call: &DocumentFields) -> Option<&'a DocumentFields> {
    let agent = workspace.agents.get(call.get("agent_id")?.as_str()?)?;
    agent.history.get(call.get("agent_version")?.as_u64()?)
}

/// The agent's URL, or else the URL of the account. A URL of the agent replaces that of the account.
/// Source: Retell's documentation of webhooks, revision of August 2026.
fn effective_webhook_url<'a>(workspace: &'a Workspace, agent: Option<&'a DocumentFields>) -> Option<&'a str> {
    let own = agent.and_then(|agent| agent.get("webhook_url")?.as_str()).filter(|url| !url.is_empty());
    own.or(workspace.webhook_url.as_deref())
}

/// Without `webhook_events`, an agent gets all three events.
fn wanted_events(agent: Option<&DocumentFields>) -> Vec<&'static str> {
    let wanted = agent.and_then(|agent| agent.get("webhook_events")?.as_array());
    let is_wanted = |event: &&str| wanted.is_none_or(|wanted| wanted.iter().any(|name| name == event));
    EVENTS.into_iter().filter(is_wanted).collect()
}

/// Test data may contain URLs of real services, to which no simulated call must be sent.
fn local_url(url: &str) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    let is_local = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    is_local.then_some(url)
}

/// Brings the stored call to its state at `event`, and returns it.
fn advance(workspaces: &mut Workspaces, call_id: &str, event: &str) -> DocumentFields {
    let Some(workspace) = workspaces.with_call(call_id) else { return DocumentFields::new() };
    let Some(call) = workspace.calls.get_mut(call_id) else { return DocumentFields::new() };
    let start_ms = call.get("start_timestamp").and_then(Value::as_i64).unwrap_or(0);
    let changes = match event {
        "call_started" => json!({ "call_status": "ongoing" }),
        "call_ended" => json!({
            "call_status": "ended", "end_timestamp": start_ms + CALL_DURATION_MS, "duration_ms": CALL_DURATION_MS,
            "disconnection_reason": "user_hangup", "transcript": "Agent: Hello, how can I help?\nUser: Thank you, bye.\n",
        }),
        _ => json!({ "call_analysis": {
            "call_summary": "The user said goodbye.", "user_sentiment": "Neutral", "call_successful": true,
            "in_voicemail": false, "custom_analysis_data": {},
        } }),
    };
    if let Value::Object(changes) = changes {
        call.extend(changes);
    }
    call.clone()
}

async fn post(client: &Client, target: &WebhookTarget, clock: &Clock, body: &Value) -> Option<u16> {
    let body = body.to_string();
    let signature = Signature::sign(&target.key, body.as_bytes(), clock.now_ms());
    let request = client.post(target.url.clone()).header("content-type", "application/json");
    let response = request.header(SIGNATURE_HEADER, signature.to_string()).body(body).send().await;
    response.ok().map(|response| response.status().as_u16())
}
