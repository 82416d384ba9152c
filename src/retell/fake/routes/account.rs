//! Endpoints about the workspace as a whole.

#![allow(clippy::unnecessary_wraps, reason = "all endpoints have one type")]

use serde_json::{Value, json};

use super::{EndpointContext, missing_field};
use crate::retell::fake::answer::{ApiAnswer, ApiRefusal, ApiResult};
use crate::retell::fake::pages::{self, PageParameters};

/// `api_key_name` is left out for a key without a name.
pub(super) fn key_info(context: &mut EndpointContext<'_>) -> ApiResult {
    let mut info = json!({ "org_id": context.workspace.org_id, "org_name": context.workspace.org_name });
    let secret = context.request.key.as_deref().unwrap_or_default();
    if let Some(name) = context.workspace.key_name(secret) {
        info["api_key_name"] = name.into();
    }
    Ok(ApiAnswer::ok(info))
}

pub(super) fn concurrency(context: &mut EndpointContext<'_>) -> ApiResult {
    Ok(ApiAnswer::ok(context.workspace.concurrency.clone()))
}

/// An array without pages, unlike the other lists.
pub(super) fn list_voices(context: &mut EndpointContext<'_>) -> ApiResult {
    Ok(ApiAnswer::ok(context.workspace.voices.clone()))
}

/// The test cases of one engine, which the query has to name.
pub(super) fn list_test_cases(context: &mut EndpointContext<'_>) -> ApiResult {
    let engine_type = context.request.query("type").ok_or_else(|| missing_field("type"))?;
    let id_key = match engine_type {
        "retell-llm" => "llm_id",
        "conversation-flow" => "conversation_flow_id",
        _ => return Err(ApiRefusal::bad_request("type must be retell-llm or conversation-flow")),
    };
    let engine_id = context.request.query(id_key).ok_or_else(|| missing_field(id_key))?;
    let version = context.request.version_number()?;
    let belongs_to_engine = |test_case: &Value| {
        let engine = &test_case["response_engine"];
        let has_version = version.is_none() || engine["version"].as_u64() == version;
        engine["type"] == engine_type && engine[id_key] == engine_id && has_version
    };
    let test_cases = context.workspace.test_cases.iter();
    let items = test_cases.map(|(id, test_case)| ((0, id.clone()), Value::Object(test_case.clone())));
    let items = items.filter(|(_, test_case)| belongs_to_engine(test_case)).collect();
    Ok(pages::page(items, &PageParameters::from_query(context.request)?))
}
