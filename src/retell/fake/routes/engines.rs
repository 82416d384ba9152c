//! Endpoints of Retell LLMs and conversation flows, which differ in names and keys only.

use std::collections::BTreeMap;

use serde_json::Value;

use super::EndpointContext;
use crate::retell::fake::answer::{ApiAnswer, ApiResult};
use crate::retell::fake::pages::{self, PageParameters};
use crate::retell::fake::rules::{access, fields, patches, versions};
use crate::retell::fake::versions::VersionHistory;
use crate::retell::fake::workspace::Workspace;

/// A kind of response engine that Retell stores.
#[derive(Clone, Copy)]
enum EngineKind {
    Llm,
    Flow,
}

impl EngineKind {
    fn name(self) -> &'static str {
        match self {
            Self::Llm => "LLM",
            Self::Flow => "conversation flow",
        }
    }

    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Llm => fields::LLM_FIELDS,
            Self::Flow => fields::FLOW_FIELDS,
        }
    }

    fn all(self, workspace: &mut Workspace) -> &mut BTreeMap<String, VersionHistory> {
        match self {
            Self::Llm => &mut workspace.llms,
            Self::Flow => &mut workspace.flows,
        }
    }
}

pub(super) fn list_llms(context: &mut EndpointContext<'_>) -> ApiResult {
    list(context, EngineKind::Llm)
}

pub(super) fn list_flows(context: &mut EndpointContext<'_>) -> ApiResult {
    list(context, EngineKind::Flow)
}

pub(super) fn get_llm(context: &mut EndpointContext<'_>) -> ApiResult {
    get(context, EngineKind::Llm)
}

pub(super) fn get_flow(context: &mut EndpointContext<'_>) -> ApiResult {
    get(context, EngineKind::Flow)
}

pub(super) fn update_llm(context: &mut EndpointContext<'_>) -> ApiResult {
    update(context, EngineKind::Llm)
}

pub(super) fn update_flow(context: &mut EndpointContext<'_>) -> ApiResult {
    update(context, EngineKind::Flow)
}

/// The newest version of each engine.
fn list(context: &mut EndpointContext<'_>, kind: EngineKind) -> ApiResult {
    let query = PageParameters::from_query(context.request)?;
    let newest = kind.all(context.workspace).iter().filter_map(|(id, history)| {
        let document = history.get(history.newest()?)?.clone();
        Some(((0, id.clone()), Value::Object(document)))
    });
    Ok(pages::page(newest.collect(), &query))
}

fn get(context: &mut EndpointContext<'_>, kind: EngineKind) -> ApiResult {
    let id = context.id().to_owned();
    let all = kind.all(context.workspace);
    let history = all.get(&id).ok_or_else(|| access::unknown_id(kind.name(), &id))?;
    let version = versions::resolve_version(history, context.request.query("version"));
    let document = version.and_then(|version| history.get(version));
    let document = document.ok_or_else(|| access::unknown_id(&format!("{} version", kind.name()), &id))?;
    Ok(ApiAnswer::ok(document.clone()))
}

fn update(context: &mut EndpointContext<'_>, kind: EngineKind) -> ApiResult {
    let requested = context.request.version_number()?;
    let patch = patches::keep_known_keys(context.request.object()?, kind.fields());
    let id = context.id().to_owned();
    let history = kind.all(context.workspace).get_mut(&id).ok_or_else(|| access::unknown_id(kind.name(), &id))?;
    let unknown_version = || access::unknown_id(&format!("{} version", kind.name()), &id);
    let version = versions::version_to_patch(history, requested).ok_or_else(unknown_version)?;
    versions::published_engines_are_immutable(history, version, kind.name())?;
    let document = history.get_mut(version).ok_or_else(unknown_version)?;
    patches::replace_keys(document, patch);
    patches::touch(document, context.now_ms);
    Ok(ApiAnswer::ok(document.clone()))
}
