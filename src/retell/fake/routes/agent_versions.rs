//! Endpoints that change agents: drafts, patches and publications.

use axum::http::StatusCode;
use serde_json::Value;

use super::agents::agent_document;
use super::{EndpointContext, missing_field};
use crate::retell::fake::answer::{ApiAnswer, ApiRefusal, ApiResult};
use crate::retell::fake::rules::{access, fields, patches, versions};
use crate::retell::fake::versions::{AgentRecord, Channel, DocumentFields};
use crate::retell::fake::workspace::Workspace;

/// Creates a draft from `base_version`, with a copy of its engine as a new version of that engine.
pub(super) fn create(context: &mut EndpointContext<'_>) -> ApiResult {
    let body = context.request.object()?;
    let base = body.get("base_version").and_then(Value::as_u64).ok_or_else(|| missing_field("base_version"))?;
    let now_ms = context.now_ms;
    let id = context.id().to_owned();
    let mut draft = agent(context.workspace, &id)?.history.get(base).cloned().ok_or_else(|| unknown_version(&id))?;
    draft.insert("base_version".into(), base.into());
    draft.remove("version_title");
    draft.remove("version_description");
    patches::touch(&mut draft, now_ms);
    copy_engine(context.workspace, &mut draft, now_ms);
    let agent = agent(context.workspace, &id)?;
    let version = agent.history.add_draft(draft);
    Ok(ApiAnswer::created(agent_document(agent, version).unwrap_or_default()))
}

/// Gives `draft` its own version of its engine. A custom LLM has none.
fn copy_engine(workspace: &mut Workspace, draft: &mut DocumentFields, now_ms: i64) {
    let Some(response_engine) = draft.get_mut("response_engine") else { return };
    let Some((engine, version)) = workspace.engine_of(response_engine) else { return };
    let Some(mut copy) = engine.get(version).cloned() else { return };
    patches::touch(&mut copy, now_ms);
    response_engine["version"] = engine.add_draft(copy).into();
}

pub(super) fn update_voice_agent(context: &mut EndpointContext<'_>) -> ApiResult {
    update(context, Channel::Voice, fields::VOICE_AGENT_FIELDS)
}

pub(super) fn update_chat_agent(context: &mut EndpointContext<'_>) -> ApiResult {
    update(context, Channel::Chat, fields::CHAT_AGENT_FIELDS)
}

fn update(context: &mut EndpointContext<'_>, channel: Channel, known: &[&str]) -> ApiResult {
    let requested = context.request.version_number()?;
    let patch = patches::keep_known_keys(context.request.object()?, known);
    let now_ms = context.now_ms;
    let id = context.id().to_owned();
    let agent = agent(context.workspace, &id)?;
    if agent.channel != channel {
        return Err(access::unknown_id("agent", &id));
    }
    let version = versions::version_to_patch(&agent.history, requested).ok_or_else(|| unknown_version(&id))?;
    versions::stale_drafts_are_refused(&agent.history, version)?;
    versions::response_engine_is_fixed(&patch)?;
    versions::published_agents_keep_all_but_the_title(&agent.history, version, &patch)?;
    if let Some(document) = agent.history.get_mut(version) {
        patches::replace_keys(document, patch);
        patches::touch(document, now_ms);
    }
    Ok(ApiAnswer::ok(agent_document(agent, version).unwrap_or_default()))
}

/// Publishes a draft in place, together with its engine version. The answer has no body.
pub(super) fn publish(context: &mut EndpointContext<'_>) -> ApiResult {
    let mut body = context.request.object()?;
    let version = body.get("version").and_then(Value::as_u64).ok_or_else(|| missing_field("version"))?;
    let now_ms = context.now_ms;
    let id = context.id().to_owned();
    let history = &mut agent(context.workspace, &id)?.history;
    let document = history.get_mut(version).ok_or_else(|| unknown_version(&id))?;
    for key in ["version_title", "version_description"] {
        if let Some(text) = body.remove(key) {
            document.insert(key.to_owned(), text);
        }
    }
    patches::touch(document, now_ms);
    let response_engine = document.get("response_engine").cloned().unwrap_or_default();
    history.publish(version);
    if let Some((engine, engine_version)) = context.workspace.engine_of(&response_engine) {
        engine.publish(engine_version);
    }
    Ok(ApiAnswer::Empty(StatusCode::OK))
}

/// Deletes a draft and its engine version. No source says what happens to the engine version; without its agent version
/// it could only be found by its number.
pub(super) fn delete(context: &mut EndpointContext<'_>) -> ApiResult {
    let version = context.request.version_number()?.ok_or_else(|| missing_field("version"))?;
    let id = context.id().to_owned();
    let history = &mut agent(context.workspace, &id)?.history;
    let document = history.get(version).ok_or_else(|| unknown_version(&id))?;
    let response_engine = document.get("response_engine").cloned().unwrap_or_default();
    versions::published_versions_are_kept(history, version)?;
    history.remove(version);
    if let Some((engine, engine_version)) = context.workspace.engine_of(&response_engine)
        && !engine.is_published(engine_version)
    {
        engine.remove(engine_version);
    }
    Ok(ApiAnswer::Empty(StatusCode::NO_CONTENT))
}

fn agent<'a>(workspace: &'a mut Workspace, id: &str) -> Result<&'a mut AgentRecord, ApiRefusal> {
    workspace.agents.get_mut(id).ok_or_else(|| access::unknown_id("agent", id))
}

fn unknown_version(agent_id: &str) -> ApiRefusal {
    access::unknown_id("agent version", agent_id)
}
