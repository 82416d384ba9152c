//! Custom functions. Each invocation runs once, however often Retell sends it, and the caller gets an answer before the
//! deadline whatever fails.
//!
//! An invocation is recorded in the ledger before its function is called, and its answer before the answer is sent.
//! Both records survive the death of the process at once, and a power cut once they are synced, 0.1 s later. A
//! request for an invocation that is running waits for the same answer; a request for one that was answered gets the
//! stored answer. When the process died in between, or the function failed, the function is called again under the
//! same idempotency key.
//!
//! A request passes three stages: `request.rs` reads it, `dedupe.rs` finds equal requests, and `execute.rs` calls the
//! function. Only the first one and the routes know the HTTP request; `target.rs` makes the one that is sent to a URL.

mod answer;
mod argument_problems;
mod cleanup;
mod dedupe;
mod execute;
mod invocation;
mod invocation_key;
mod payload;
mod registry;
mod request;
mod routes;
mod schema;
mod service;
mod target;

pub(crate) use answer::{not_an_event_body, unconfigured_function_body};
pub(crate) use payload::{BodyKind, body_kind};
pub(crate) use registry::{FunctionRegistry, load_parameters, merge_builtins};
pub(crate) use request::FunctionRequest;
pub(crate) use routes::{FUNCTION_METHODS, FUNCTION_ROUTES, OUTCOME_HEADER, answer_request, function_path};
pub(crate) use service::FunctionService;
