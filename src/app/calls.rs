//! Custom functions: starts them, and hands them the calls that came to the address of an older guide.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};

use super::builder::BuildError;
use super::ops::Ops;
use super::reload::{self, Given};
use crate::answers::appointments::built_ins;
use crate::answers::functions::{Functions, Parts, Request};
use crate::base::supervise::Supervisor;
use crate::config::Settings;
use crate::handlers::Tools;
use crate::http::company::Company;
use crate::http::{RawEvent, Verified};
use crate::intake::CallsFunctions;
use crate::storage::sqlite::SqliteStore;

pub(super) fn start(
    (settings, given): (&Settings, &mut Given),
    sqlite: Arc<SqliteStore>,
    tools: &Tools,
    ops: &Ops,
    supervisor: &Supervisor,
) -> Result<Functions, BuildError> {
    given.functions.extend(built_ins(settings, sqlite.clone(), tools.clock.clone())?);
    let functions = reload::functions(settings, given, tools, &ops.functions)?;
    let (metrics, counters) = (ops.functions.clone(), Arc::clone(&ops.counters));
    Ok(Functions::start(
        functions,
        Parts { ledger: sqlite, clock: tools.clock.clone(), supervisor: supervisor.clone(), metrics, counters },
    ))
}

pub(super) struct FunctionCalls(pub(super) Functions);

#[async_trait]
impl CallsFunctions for FunctionCalls {
    async fn call(&self, company: Arc<Company>, headers: HeaderMap, verified: Verified<RawEvent>) -> Response {
        let request = Request { method: Method::POST, name: None, headers, company, verified };
        self.0.answer(request).await.into_response()
    }

    async fn leave(&self, signature: &str, at_ms: i64) -> bool {
        self.0.leave(signature, at_ms).await
    }
}
