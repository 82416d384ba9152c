//! Lists and tests functions, and lists their invocations and the tools with which Retell invokes them.

mod convert;
mod test;

use serde_json::{Map, Value};

pub(crate) use self::convert::convert_functions;
pub(crate) use self::test::{FunctionTest, test_function};
use super::latency_stats::{latency_stats_view, run_rebuild};
use super::{ItemKind, OperationError, Principal, ProgressCallback};
use crate::base::clock::to_unsigned_ms;
use crate::base::escape::escape_text;
use crate::config::{DEFAULT_COMPANY_SLUG, FieldError, FunctionSettings, Settings};
use crate::live::appointments;
use crate::live::functions::{function_path, load_parameters, merge_builtins};
use crate::storage::{InvocationFilter, InvocationRow, InvocationState, InvocationStore, LatencyFilter};
use crate::view::{
    FunctionView, InvocationStateView, InvocationView, LatencyStatsView, RebuiltStatsView, RetellToolView,
};

/// Added to the receiver's timeout for Retell's timeout, so that the fallback still reaches Retell in time.
const RETELL_TIMEOUT_MARGIN_MS: u64 = 5_000;

/// Every function of a receiver with these settings: the configured ones merged with the built-in ones.
pub(crate) fn all_functions(settings: &Settings) -> Result<Vec<FunctionSettings>, FieldError> {
    merge_builtins(&settings.functions, &appointments::function_definitions(settings))
}

/// Like [`all_functions`], as they are shown.
pub(crate) fn list_functions(settings: &Settings) -> Result<Vec<FunctionView>, OperationError> {
    all_functions(settings)?.into_iter().map(function_view).collect()
}

/// The function with this name that the company has; `None` stands for the default company.
pub(crate) fn find_function(
    settings: &Settings,
    name: &str,
    company: Option<&str>,
) -> Result<FunctionView, OperationError> {
    let company = company.unwrap_or(DEFAULT_COMPANY_SLUG);
    let mut functions = all_functions(settings)?.into_iter();
    let function = functions.find(|function| function.name == name && function.is_available_to(company));
    function_view(function.ok_or_else(|| {
        let message = format!("company `{}` has no function `{}`", escape_text(company), escape_text(name));
        OperationError::not_found(ItemKind::Function, message)
    })?)
}

/// The tools for the agents of a company; `None` stands for the default company.
///
/// # Errors
/// The settings have no such company.
pub(crate) fn list_tools(settings: &Settings, company: Option<&str>) -> Result<Vec<RetellToolView>, OperationError> {
    let slug = company.unwrap_or(DEFAULT_COMPANY_SLUG);
    if slug != DEFAULT_COMPANY_SLUG && settings.find_company(slug).is_none() {
        return Err(OperationError::unknown_company(slug));
    }
    let functions = all_functions(settings)?.into_iter();
    functions
        .filter(|function| function.is_available_to(slug))
        .map(|function| tool_view(settings, company, function))
        .collect()
}

/// The public URL at which Retell invokes a function.
pub(crate) fn function_url(settings: &Settings, company: Option<&str>, name: &str) -> String {
    format!("{}{}", settings.server.public_url(settings.server.port), function_path(company, name))
}

/// At most `limit` invocations that match the filter, the latest first.
pub(crate) async fn list_invocations(
    store: &dyn InvocationStore,
    _principal: &Principal,
    filter: InvocationFilter,
    limit: usize,
) -> Result<Vec<InvocationView>, OperationError> {
    Ok(store.list_invocations(filter, limit).await?.into_iter().map(invocation_view).collect())
}

/// Numbers and durations of invocations that have ended, by group.
pub(crate) async fn count_invocations(
    store: &dyn InvocationStore,
    _principal: &Principal,
    filter: LatencyFilter,
) -> Result<LatencyStatsView, OperationError> {
    let groups = store.invocation_stats(filter.clone()).await?;
    Ok(latency_stats_view(&filter, groups))
}

/// Compares the totals behind the statistics of invocations with the stored invocations, and corrects them.
pub(crate) async fn rebuild_invocation_stats(
    store: &dyn InvocationStore,
    principal: &Principal,
    progress: ProgressCallback<'_>,
) -> Result<RebuiltStatsView, OperationError> {
    tracing::info!(%principal, "rebuilding the statistics of invocations");
    run_rebuild(store.rebuild_invocation_totals().await?, progress).await
}

/// The only invocation that matches a filter with an idempotency key; [`OperationError::NotFound`] when none does.
pub(crate) async fn show_invocation(
    store: &dyn InvocationStore,
    principal: &Principal,
    filter: InvocationFilter,
) -> Result<InvocationView, OperationError> {
    list_invocations(store, principal, filter, 1).await?.pop().ok_or_else(|| {
        let message = "no invocation has this id; invocations are kept for one day";
        OperationError::not_found(ItemKind::Invocation, message)
    })
}

fn function_view(mut function: FunctionSettings) -> Result<FunctionView, OperationError> {
    let parameters = load_parameters(&function)?;
    function.parameters = None;
    Ok(FunctionView { settings: function, parameters })
}

fn tool_view(
    settings: &Settings,
    company: Option<&str>,
    function: FunctionSettings,
) -> Result<RetellToolView, OperationError> {
    let mut schema = load_parameters(&function)?;
    // Retell requires `type` and `properties`, also of a function without parameters.
    if let Value::Object(fields) = &mut schema {
        fields.entry("type").or_insert_with(|| "object".into());
        fields.entry("properties").or_insert_with(|| Map::new().into());
    }
    Ok(RetellToolView {
        r#type: "custom",
        url: function_url(settings, company, &function.name),
        name: function.name,
        description: function.description,
        method: function.methods.into_iter().next(),
        parameters: schema,
        // Retell accepts 1 to 600 seconds.
        timeout_ms: to_unsigned_ms(function.timeout).saturating_add(RETELL_TIMEOUT_MARGIN_MS).clamp(1_000, 600_000),
    })
}

fn invocation_view(row: InvocationRow) -> InvocationView {
    InvocationView {
        invocation: row.idempotency_key,
        company: row.company,
        function: row.function,
        call_id: row.call_id,
        tool_call_id: row.tool_call_id,
        received_at_ms: row.received_at_ms,
        ended_at_ms: row.ended_at_ms,
        state: match row.state {
            InvocationState::Running => InvocationStateView::Running,
            InvocationState::Done => InvocationStateView::Done,
            InvocationState::InvalidArguments => InvocationStateView::InvalidArguments,
            InvocationState::Failed => InvocationStateView::Failed,
        },
        runs: row.runs,
        arguments: row.arguments,
        answer: row.answer,
        truncated: row.truncated,
        reason: row.reason,
    }
}
