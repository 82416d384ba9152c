//! Endpoints that create calls. No call is made: the call is a document, which `FakeRetell::play_call` can end.

use serde_json::{Value, json};

use super::{EndpointContext, missing_field, version_reference};
use crate::retell::fake::answer::{ApiAnswer, ApiRefusal, ApiResult};
use crate::retell::fake::rules::{access, versions};
use crate::retell::fake::versions::{Channel, DocumentFields};

/// How long a token of a web call is valid.
const TOKEN_VALIDITY_MS: i64 = 600_000;
/// How long a phone call answers for its `idempotency_key`.
const IDEMPOTENCY_MS: i64 = 3_600_000;
/// Keys of the request that the call document takes over.
const COPIED_KEYS: [&str; 2] = ["metadata", "retell_llm_dynamic_variables"];
/// Where the document remembers its idempotency key. The real API does not show it.
const IDEMPOTENCY_KEY: &str = "idempotency_key";

/// The answer is the access of a browser to the call, not the call.
pub(super) fn create_web_call(context: &mut EndpointContext<'_>) -> ApiResult {
    let body = context.request.object()?;
    let agent_id = text(&body, "agent_id").ok_or_else(|| missing_field("agent_id"))?;
    let call = new_call(context, &body, agent_id, body.get("agent_version"), "web_call")?;
    let answer = json!({
        "call_id": call["call_id"], "access_token": format!("token_{}", context.new_id), "ice_servers": [],
        "expires_at": context.now_ms + TOKEN_VALIDITY_MS, "transport": "gateway",
    });
    context.workspace.add_call(call);
    Ok(ApiAnswer::created(answer))
}

pub(super) fn create_phone_call(context: &mut EndpointContext<'_>) -> ApiResult {
    let body = context.request.object()?;
    let from_number = text(&body, "from_number").ok_or_else(|| missing_field("from_number"))?;
    let to_number = text(&body, "to_number").ok_or_else(|| missing_field("to_number"))?;
    access::phone_calls_need_a_card(context.workspace)?;
    if let Some(earlier) = call_of_idempotency_key(context, text(&body, IDEMPOTENCY_KEY)) {
        return Ok(ApiAnswer::created(earlier));
    }
    let number = context.workspace.numbers.get(from_number);
    let number = number.ok_or_else(|| access::unknown_id("phone number", from_number))?;
    let binding = number.get("outbound_agents").and_then(|agents| agents.get(0)).cloned().unwrap_or_default();
    let override_id = text(&body, "override_agent_id");
    let agent_id = override_id.or_else(|| binding["agent_id"].as_str());
    let agent_id = agent_id.ok_or_else(|| missing_field("override_agent_id or an outbound agent"))?;
    let bound_version = binding.get("agent_version").filter(|_| override_id.is_none());
    let version = body.get("override_agent_version").or(bound_version);
    let mut call = new_call(context, &body, agent_id, version, "phone_call")?;
    call["direction"] = "outbound".into();
    call["from_number"] = from_number.into();
    call["to_number"] = to_number.into();
    if let Some(key) = body.get(IDEMPOTENCY_KEY) {
        call[IDEMPOTENCY_KEY] = key.clone();
    }
    context.workspace.add_call(call.clone());
    Ok(ApiAnswer::created(call))
}

/// The call that a request with the same key created within an hour. The key makes a repeated request harmless.
fn call_of_idempotency_key(context: &EndpointContext<'_>, key: Option<&str>) -> Option<DocumentFields> {
    let key = key?;
    let is_recent = |call: &DocumentFields| {
        let created_ms = call.get("start_timestamp").and_then(Value::as_i64).unwrap_or(0);
        context.now_ms - created_ms < IDEMPOTENCY_MS
    };
    let mut calls = context.workspace.calls.values();
    calls.find(|call| text(call, IDEMPOTENCY_KEY) == Some(key) && is_recent(call)).cloned()
}

fn new_call(
    context: &EndpointContext<'_>,
    body: &DocumentFields,
    agent_id: &str,
    version: Option<&Value>,
    call_type: &str,
) -> Result<Value, ApiRefusal> {
    let agent = context.workspace.agents.get(agent_id).filter(|agent| agent.channel == Channel::Voice);
    let agent = agent.ok_or_else(|| access::unknown_id("agent", agent_id))?;
    let reference = version_reference(version);
    let version = versions::resolve_agent_version(agent, reference.as_deref());
    let version = version.ok_or_else(|| access::unknown_id("agent version", agent_id))?;
    let agent_name = agent.history.get(version).and_then(|document| document.get("agent_name"));
    let mut call = json!({
        "call_id": format!("call_fake_{:06}", context.new_id), "call_type": call_type, "call_status": "registered",
        "agent_id": agent_id, "agent_version": version, "agent_name": agent_name, "start_timestamp": context.now_ms,
    });
    for key in COPIED_KEYS {
        if let Some(value) = body.get(key) {
            call[key] = value.clone();
        }
    }
    Ok(call)
}

fn text<'a>(document: &'a DocumentFields, key: &str) -> Option<&'a str> {
    document.get(key).and_then(Value::as_str)
}
