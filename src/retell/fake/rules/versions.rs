//! Rules about versions: which one a request means, and which can be changed.

use axum::http::StatusCode;
use serde_json::Value;

use crate::retell::fake::answer::ApiRefusal;
use crate::retell::fake::versions::{AgentRecord, DocumentFields, VersionHistory};

/// `latest`, like no version at all, is the largest version number, drafts included: an unfinished draft can serve
/// callers. `latest_published` is the version that was published last.
/// Source: Retell's SDK 6.2.13, `types/phone_number_response.py`, `agent_version`.
pub(in crate::retell::fake) fn resolve_version(history: &VersionHistory, reference: Option<&str>) -> Option<u64> {
    match reference {
        None | Some("latest") => history.newest(),
        Some("latest_published") => history.latest_published(),
        Some(number) => number.parse().ok().filter(|version| history.get(*version).is_some()),
    }
}

/// A reference to an agent version can also be a tag. A tag that exists but is unassigned means `latest`.
/// Source: Retell's SDK 6.2.13, `types/phone_number_response.py`, `agent_version`.
pub(in crate::retell::fake) fn resolve_agent_version(agent: &AgentRecord, reference: Option<&str>) -> Option<u64> {
    match reference.and_then(|name| agent.tags.get(name)) {
        Some(tag) => tag.get("version").and_then(Value::as_u64).or_else(|| agent.history.newest()),
        None => resolve_version(&agent.history, reference),
    }
}

/// A patch without `version` changes the newest version, which may be the draft of another editor.
/// Source: Retell's SDK 6.2.13, `types/agent_update_params.py`.
pub(in crate::retell::fake) fn version_to_patch(history: &VersionHistory, version: Option<u64>) -> Option<u64> {
    match version {
        Some(version) => history.get(version).map(|_| version),
        None => history.newest(),
    }
}

/// A published version of an engine cannot be changed: 400. `kind` is "LLM" or "conversation flow".
/// Source: live rejections of September 2026.
pub(in crate::retell::fake) fn published_engines_are_immutable(
    history: &VersionHistory,
    version: u64,
    kind: &str,
) -> Result<(), ApiRefusal> {
    if history.is_published(version) {
        return Err(ApiRefusal::bad_request(format!("Cannot update published {kind}")));
    }
    Ok(())
}

/// A published version of an agent cannot be changed, except for its version title: 422.
/// Source: live rejections of September 2026.
pub(in crate::retell::fake) fn published_agents_keep_all_but_the_title(
    history: &VersionHistory,
    version: u64,
    patch: &DocumentFields,
) -> Result<(), ApiRefusal> {
    let changes_more_than_title = patch.keys().any(|key| key != "version_title");
    if history.is_published(version) && changes_more_than_title {
        let message = "Cannot update published agent other than version title";
        return Err(ApiRefusal::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    Ok(())
}

/// The engine of an agent cannot be replaced once a version exists, not even in a draft: 400. The sources do not say
/// whether the present value is accepted, so the fake refuses every `response_engine`.
/// Source: live rejections of September 2026.
pub(in crate::retell::fake) fn response_engine_is_fixed(patch: &DocumentFields) -> Result<(), ApiRefusal> {
    if patch.contains_key("response_engine") {
        return Err(ApiRefusal::bad_request("Cannot update response engine after agent versions have been created"));
    }
    Ok(())
}

/// A draft that was replaced meanwhile cannot be patched: 412. A client reads it again and starts over. The sources do
/// not say what makes a draft stale, so tests mark one with [`VersionHistory::mark_stale`].
/// Source: Retell's OpenAPI text of mid 2026, update-agent and update-chat-agent.
pub(in crate::retell::fake) fn stale_drafts_are_refused(
    history: &VersionHistory,
    version: u64,
) -> Result<(), ApiRefusal> {
    if history.is_stale(version) {
        let message = "The draft version is stale, read the agent again";
        return Err(ApiRefusal::new(StatusCode::PRECONDITION_FAILED, message));
    }
    Ok(())
}

/// A published version cannot be deleted: 400.
/// Source: none that is precise; it follows from the rule that published versions are immutable.
pub(in crate::retell::fake) fn published_versions_are_kept(
    history: &VersionHistory,
    version: u64,
) -> Result<(), ApiRefusal> {
    if history.is_published(version) {
        return Err(ApiRefusal::bad_request("Cannot delete a published agent version"));
    }
    Ok(())
}
