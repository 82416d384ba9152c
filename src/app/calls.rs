//! Custom functions: starts them, and hands them the calls that came to the address of an older guide.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};

use super::ops::Ops;
use crate::answers::functions::{FunctionRegistry, Functions, Parts, Request};
use crate::base::supervise::Supervisor;
use crate::handlers::Tools;
use crate::http::company::Company;
use crate::http::{RawEvent, Verified};
use crate::intake::CallsFunctions;
use crate::storage::Invocations;

pub(super) fn start(
    functions: FunctionRegistry,
    ledger: Arc<dyn Invocations>,
    tools: &Tools,
    ops: &Ops,
    supervisor: &Supervisor,
) -> Functions {
    let (metrics, counters) = (ops.functions.clone(), Arc::clone(&ops.counters));
    Functions::start(
        functions,
        Parts { ledger, clock: tools.clock.clone(), supervisor: supervisor.clone(), metrics, counters },
    )
}

pub(super) struct FunctionCalls(pub(super) Functions);

#[async_trait]
impl CallsFunctions for FunctionCalls {
    async fn call(&self, company: Arc<Company>, headers: HeaderMap, verified: Verified<RawEvent>) -> Response {
        let request = Request { method: Method::POST, name: None, headers, company, verified };
        self.0.answer(request).await.into_response()
    }
}
