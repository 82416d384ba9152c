//! Endpoints that read agents and list their versions.

use serde_json::{Value, json};

use super::EndpointContext;
use crate::retell::fake::answer::{ApiAnswer, ApiResult};
use crate::retell::fake::pages::{self, PageParameters};
use crate::retell::fake::rules::{access, versions};
use crate::retell::fake::versions::{AgentRecord, Channel, DocumentFields};

/// The slim items of all agents. Limit and cursor are read from the query; a body can only filter.
pub(super) fn list(context: &mut EndpointContext<'_>) -> ApiResult {
    let query = PageParameters::from_query(context.request)?;
    let body = context.request.object()?;
    let channel = body.get("filter_criteria").and_then(|filter| filter["channel"]["value"].as_str());
    let agents = context.workspace.agents.iter();
    let matching = agents.filter(|(_, agent)| channel.is_none_or(|channel| agent.channel.name() == channel));
    Ok(pages::page(matching.map(|(id, agent)| ((0, id.clone()), slim_item(id, agent))).collect(), &query))
}

/// An item has neither `webhook_url` nor `voice_id`, which only the agent itself has.
fn slim_item(agent_id: &str, agent: &AgentRecord) -> Value {
    let newest = agent.history.newest().and_then(|version| agent.history.get(version));
    let agent_name = newest.and_then(|document| document.get("agent_name")).cloned().unwrap_or_default();
    json!({
        "agent_id": agent_id, "agent_name": agent_name, "channel": agent.channel.name(),
        "is_suspended": agent.is_suspended, "tags": agent.tags, "user_modified_timestamp": last_change_ms(agent),
    })
}

/// The time of the last change of any version. No source says whether a change of the engine counts; here it does not,
/// so a client that relies on it misses prompts.
fn last_change_ms(agent: &AgentRecord) -> i64 {
    let changes =
        agent.history.iter().filter_map(|(_, document)| document.get("last_modification_timestamp")?.as_i64());
    changes.max().unwrap_or(0)
}

pub(super) fn list_versions(context: &mut EndpointContext<'_>) -> ApiResult {
    let id = context.id();
    let agent = context.workspace.agents.get(id).ok_or_else(|| access::unknown_id("agent", id))?;
    let items = agent.history.iter().map(|(version, document)| {
        let number = i64::try_from(version).unwrap_or(i64::MAX);
        ((number, String::new()), version_item(document))
    });
    Ok(pages::page(items.collect(), &PageParameters::from_query(context.request)?))
}

fn version_item(document: &DocumentFields) -> Value {
    const KEYS: [&str; 6] = [
        "version",
        "is_published",
        "base_version",
        "version_title",
        "version_description",
        "last_modification_timestamp",
    ];
    let present = KEYS.iter().filter_map(|key| Some(((*key).to_owned(), document.get(*key)?.clone())));
    Value::Object(present.collect())
}

pub(super) fn get_voice_agent(context: &mut EndpointContext<'_>) -> ApiResult {
    get(context, Channel::Voice)
}

pub(super) fn get_chat_agent(context: &mut EndpointContext<'_>) -> ApiResult {
    get(context, Channel::Chat)
}

fn get(context: &EndpointContext<'_>, channel: Channel) -> ApiResult {
    let id = context.id();
    let agent = context.workspace.agents.get(id).filter(|agent| agent.channel == channel);
    let agent = agent.ok_or_else(|| access::unknown_id("agent", id))?;
    let version = versions::resolve_agent_version(agent, context.request.query("version"));
    let document = version.and_then(|version| agent_document(agent, version));
    Ok(ApiAnswer::ok(document.ok_or_else(|| access::unknown_id("agent version", id))?))
}

/// A version as the API shows it, with the tags that point to it.
pub(super) fn agent_document(agent: &AgentRecord, version: u64) -> Option<DocumentFields> {
    let mut document = agent.history.get(version)?.clone();
    document.insert("assigned_tags".into(), agent.tags_of(version).into());
    Some(document)
}
