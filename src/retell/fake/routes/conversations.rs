//! Endpoints that read calls and chats.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{EndpointContext, filters};
use crate::retell::fake::answer::{ApiAnswer, ApiRefusal, ApiResult};
use crate::retell::fake::pages::{self, PageParameters, SortKey};
use crate::retell::fake::rules::{access, lists};
use crate::retell::fake::versions::DocumentFields;

pub(super) fn list_calls(context: &mut EndpointContext<'_>) -> ApiResult {
    let body = context.request.object()?;
    let query = PageParameters::from_body(&body)?;
    let mut items = matching(&context.workspace.calls, &body)?;
    for (_, call) in &mut items {
        *call = lists::without_transcripts(call);
    }
    Ok(pages::page(as_values(items), &query))
}

/// Items are whole chats, unlike those of the calls.
pub(super) fn list_chats(context: &mut EndpointContext<'_>) -> ApiResult {
    let body = context.request.object()?;
    let query = PageParameters::from_body(&body)?;
    Ok(pages::page(as_values(matching(&context.workspace.chats, &body)?), &query))
}

fn matching(
    documents: &BTreeMap<String, DocumentFields>,
    body: &DocumentFields,
) -> Result<Vec<(SortKey, DocumentFields)>, ApiRefusal> {
    let criteria = body.get("filter_criteria").unwrap_or(&Value::Null);
    let mut items = Vec::new();
    for (id, document) in documents {
        if filters::matches(document, criteria)? {
            let start_ms = document.get("start_timestamp").and_then(Value::as_i64).unwrap_or(0);
            items.push(((start_ms, id.clone()), document.clone()));
        }
    }
    Ok(items)
}

fn as_values(items: Vec<(SortKey, DocumentFields)>) -> Vec<(SortKey, Value)> {
    items.into_iter().map(|(key, document)| (key, Value::Object(document))).collect()
}

pub(super) fn get_call(context: &mut EndpointContext<'_>) -> ApiResult {
    get(&context.workspace.calls, "call", context.id())
}

pub(super) fn get_chat(context: &mut EndpointContext<'_>) -> ApiResult {
    get(&context.workspace.chats, "chat", context.id())
}

fn get(documents: &BTreeMap<String, DocumentFields>, kind: &str, id: &str) -> ApiResult {
    Ok(ApiAnswer::ok(documents.get(id).ok_or_else(|| access::unknown_id(kind, id))?.clone()))
}
