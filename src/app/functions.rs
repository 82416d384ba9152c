//! Custom functions: starts them, and hands them the calls that came to the address of an older guide.

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
use crate::http::company::Company;
use crate::http::{RawEvent, Verified};
use crate::intake::FunctionAnswerProvider;
use crate::live::appointments::built_in_functions;
use crate::live::functions::{FunctionDeps, FunctionRequest, FunctionService};
use crate::storage::sqlite::SqliteStore;

pub(super) fn start_functions(
    (settings, given): (&Settings, &mut BuilderOverrides),
    sqlite: Arc<SqliteStore>,
    tools: &HandlerDeps,
    ops: &OpsState,
    supervisor: &Supervisor,
) -> Result<FunctionService, BuildError> {
    given.functions.extend(built_in_functions(settings, sqlite.clone(), tools.clock.clone())?);
    let functions = reload::build_functions(settings, given, tools, &ops.function_metrics)?;
    let (metrics, counters) = (ops.function_metrics.clone(), Arc::clone(&ops.counters));
    Ok(FunctionService::start(
        functions,
        FunctionDeps { ledger: sqlite, clock: tools.clock.clone(), supervisor: supervisor.clone(), metrics, counters },
    ))
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
