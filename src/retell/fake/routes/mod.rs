//! The endpoints. A path that is not listed here is an unknown route; this includes the endpoints that Retell removed.

mod account;
mod agent_versions;
mod agents;
mod calls;
mod conversations;
mod engines;
mod filters;
mod numbers;

use serde_json::Value;

use super::answer::{ApiRefusal, ApiResult};
use super::request::ReceivedRequest;
use super::rules::access;
use super::workspace::{Workspace, Workspaces};

type Endpoint = fn(&mut EndpointContext<'_>) -> ApiResult;

/// What an endpoint works with: the workspace of the key, and the request.
struct EndpointContext<'a> {
    workspace: &'a mut Workspace,
    request: &'a ReceivedRequest,
    /// Modification time of whatever the request changes.
    now_ms: i64,
    /// Number for the id of a new document.
    new_id: u64,
}

impl EndpointContext<'_> {
    /// The id at the end of the path.
    fn id(&self) -> &str {
        self.request.segments.last().map_or("", String::as_str)
    }
}

/// Answers `request` and applies its changes.
pub(super) fn answer(workspaces: &mut Workspaces, request: &ReceivedRequest) -> ApiResult {
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    let endpoint = match request.method.as_str() {
        "GET" => read_endpoint(&segments),
        "POST" => list_endpoint(&segments).or_else(|| create_endpoint(&segments)),
        "PATCH" => patch_endpoint(&segments),
        "DELETE" => delete_endpoint(&segments),
        _ => None,
    };
    let endpoint = endpoint.ok_or_else(|| access::unknown_route(&request.method, &request.path))?;
    let now_ms = workspaces.next_timestamp();
    let new_id = workspaces.next_id();
    let workspace = access::workspace_of_key(workspaces, request.key.as_deref())?;
    endpoint(&mut EndpointContext { workspace, request, now_ms, new_id })
}

fn read_endpoint(segments: &[&str]) -> Option<Endpoint> {
    Some(match segments {
        ["get-api-key-info"] => account::key_info,
        ["get-concurrency"] => account::concurrency,
        ["list-voices"] => account::list_voices,
        ["v2", "list-test-case-definitions"] => account::list_test_cases,
        ["list-agent-versions", _] => agents::list_versions,
        ["get-agent", _] => agents::get_voice_agent,
        ["get-chat-agent", _] => agents::get_chat_agent,
        ["v2", "list-retell-llms"] => engines::list_llms,
        ["get-retell-llm", _] => engines::get_llm,
        ["v2", "list-conversation-flows"] => engines::list_flows,
        ["get-conversation-flow", _] => engines::get_flow,
        ["v2", "list-phone-numbers"] => numbers::list,
        ["get-phone-number", _] => numbers::get,
        ["v2", "get-call", _] => conversations::get_call,
        ["get-chat", _] => conversations::get_chat,
        _ => return None,
    })
}

/// Lists whose filter is a body.
fn list_endpoint(segments: &[&str]) -> Option<Endpoint> {
    Some(match segments {
        ["v2", "list-agents"] => agents::list,
        ["v3", "list-calls"] => conversations::list_calls,
        ["v3", "list-chats"] => conversations::list_chats,
        _ => return None,
    })
}

fn create_endpoint(segments: &[&str]) -> Option<Endpoint> {
    Some(match segments {
        ["create-agent-version", _] => agent_versions::create,
        ["publish-agent-version", _] => agent_versions::publish,
        ["v3", "create-web-call"] => calls::create_web_call,
        ["v2", "create-phone-call"] => calls::create_phone_call,
        _ => return None,
    })
}

fn patch_endpoint(segments: &[&str]) -> Option<Endpoint> {
    Some(match segments {
        ["update-agent", _] => agent_versions::update_voice_agent,
        ["update-chat-agent", _] => agent_versions::update_chat_agent,
        ["update-retell-llm", _] => engines::update_llm,
        ["update-conversation-flow", _] => engines::update_flow,
        ["update-phone-number", _] => numbers::update,
        _ => return None,
    })
}

fn delete_endpoint(segments: &[&str]) -> Option<Endpoint> {
    match segments {
        ["delete-agent-version", _] => Some(agent_versions::delete),
        _ => None,
    }
}

/// The refusal of a body or query without `name`.
fn missing_field(name: &str) -> ApiRefusal {
    ApiRefusal::bad_request(format!("Invalid request format: {name} is required"))
}

/// The version reference in a query or a body: a number, a keyword or a tag.
fn version_reference(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
