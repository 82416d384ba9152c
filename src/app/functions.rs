//! Starts the custom functions, and passes on the function calls that arrive at the route of Retell's older guide.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};

use super::builder::BuildError;
use super::ops::OpsState;
use super::reload::{self, BuilderOverrides};
use crate::base::supervise::Supervisor;
use crate::config::Settings;
use crate::handlers::HandlerDeps;
use crate::http::{RawEvent, Verified};
use crate::intake::FunctionAnswerProvider;
use crate::live::appointments::built_in_functions;
use crate::live::functions::{FunctionDeps, FunctionRequest, FunctionService};
use crate::storage::sqlite::SqliteStore;
use crate::tenants::Company;

pub(super) fn start_functions(
    settings: &Settings,
    overrides: &mut BuilderOverrides,
    sqlite: Arc<SqliteStore>,
    handler_deps: &HandlerDeps,
    ops: &OpsState,
    supervisor: &Supervisor,
) -> Result<FunctionService, BuildError> {
    // Kept in the overrides, so that a reload keeps the built-in functions too.
    overrides.functions.extend(built_in_functions(settings, sqlite.clone(), handler_deps.clock.clone())?);
    let functions = reload::build_functions(settings, overrides, handler_deps, &ops.function_metrics)?;
    let function_deps = FunctionDeps {
        ledger: sqlite,
        clock: handler_deps.clock.clone(),
        supervisor: supervisor.clone(),
        metrics: ops.function_metrics.clone(),
        counters: Arc::clone(&ops.counters),
    };
    Ok(FunctionService::start(functions, function_deps))
}

pub(super) struct FunctionsAdapter(pub(super) FunctionService);

#[async_trait]
impl FunctionAnswerProvider for FunctionsAdapter {
    async fn answer(&self, company: Arc<Company>, headers: HeaderMap, verified: Verified<RawEvent>) -> Response {
        let request = FunctionRequest { method: Method::POST, name: None, headers, company, raw_event: verified };
        self.0.answer(request).await.into_response()
    }

    async fn reserve_signature_for_event(&self, signature: &str, at_ms: i64) -> bool {
        self.0.reserve_signature_for_event(signature, at_ms).await
    }
}
