//! The target of a function: a URL, a program, or code in this process.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::super::{Function, FunctionContext, FunctionOutcome};
use super::answer;
use crate::base::clock::Clock;
use crate::config::{FieldError, FunctionSettings, ProgramSearchPath, RetellSignatureMode};
use crate::egress::{Destination, Egress, PostRequest};
use crate::event::valid_json_body;
use crate::outbound::{FunctionProgram, OutboundContext, RequestSigner, RetellSigner, SigningInput};
use crate::storage::StoredAnswer;

pub(super) enum FunctionTarget {
    Url(Box<UrlTarget>),
    Program(FunctionProgram),
    InProcess(Arc<dyn Function>),
}

/// Posts requests to a server, signed afresh.
pub(super) struct UrlTarget {
    destination: Destination,
    signing: RequestSigner,
    /// For companies without a key, which exist when verification is off. Adds no Retell signature.
    signing_without_key: RequestSigner,
    signer: Arc<dyn RetellSigner>,
    clock: Clock,
}

/// One call of a target.
pub(super) struct TargetCall<'a> {
    /// The body as Retell sent it.
    pub(super) body: &'a Bytes,
    /// The query of a request with a body. `None` without a body: the query is then the arguments.
    pub(super) query: Option<&'a str>,
    pub(super) arguments: &'a Map<String, Value>,
    pub(super) context: &'a FunctionContext,
    /// When the call is canceled. Later than the deadline in `context` for targets that may answer late.
    pub(super) target_deadline: Instant,
}

pub(super) enum TargetOutcome {
    Answer(StoredAnswer),
    /// The receiver found the request unusable and did not call the function. Holds the finished answer.
    InvalidRequest(StoredAnswer),
    /// The body or the arguments cannot be used. Holds the explanation for the model.
    InvalidArguments(String),
    /// Holds the reason, without personal data.
    Failed(String),
}

impl FunctionTarget {
    /// Makes the target of a table with `url` or `command`. An error is the key and the problem.
    pub(super) fn from_settings(table: &FunctionSettings, outbound: &OutboundContext) -> Result<Self, FieldError> {
        let Some(url) = &table.url else {
            let program = FunctionProgram::new(&table.command, outbound.program_search_path.clone());
            return program.map(Self::Program).map_err(|problem| FieldError::new("command", problem));
        };
        let target = outbound.egress.parse_url(url.expose()).map_err(|problem| FieldError::new("url", problem))?;
        // 0 redirects: the arguments must not go to a server that is not in the settings.
        let destination =
            outbound.egress.destination(target, 0).map_err(|error| FieldError::new("url", error.to_string()))?;
        Ok(Self::Url(Box::new(UrlTarget {
            destination,
            signing: RequestSigner::new(table.secret.as_ref(), RetellSignatureMode::Fresh, &table.headers)?,
            signing_without_key: RequestSigner::new(table.secret.as_ref(), RetellSignatureMode::None, &table.headers)?,
            signer: Arc::clone(&outbound.retell_signer),
            clock: outbound.clock.clone(),
        })))
    }

    /// Fails where [`FunctionTarget::from_settings`] would fail, without making a client.
    pub(super) fn check(table: &FunctionSettings, egress: &Egress, path: &ProgramSearchPath) -> Result<(), FieldError> {
        let Some(url) = &table.url else {
            return FunctionProgram::new(&table.command, path.clone())
                .map(drop)
                .map_err(|problem| FieldError::new("command", problem));
        };
        egress.parse_url(url.expose()).map_err(|problem| FieldError::new("url", problem))?;
        RequestSigner::new(table.secret.as_ref(), RetellSignatureMode::Fresh, &table.headers).map(drop)
    }

    /// Calls the target. The caller of this method enforces the deadline by dropping the future.
    pub(super) async fn call(&self, call: TargetCall<'_>) -> TargetOutcome {
        match self {
            Self::Url(url) => url.call(call).await,
            Self::Program(program) => call_program(program, call).await,
            Self::InProcess(function) => {
                // A panic must not reach the task: the invocation would stay `running` in the ledger, without a reason.
                let called = AssertUnwindSafe(function.call(call.arguments, call.context)).catch_unwind().await;
                match called {
                    Ok(FunctionOutcome::Answer(value)) => TargetOutcome::Answer(answer::from_value(&value)),
                    Ok(FunctionOutcome::InvalidArguments(problem)) => TargetOutcome::InvalidArguments(problem),
                    Ok(FunctionOutcome::Failed(reason)) => TargetOutcome::Failed(reason),
                    Err(_) => TargetOutcome::Failed("the function panicked".to_owned()),
                }
            }
        }
    }
}

async fn call_program(program: &FunctionProgram, call: TargetCall<'_>) -> TargetOutcome {
    let input = Value::Object(call.arguments.clone()).to_string();
    // One byte more than is used, to notice that there is more.
    let output_limit = answer::MAX_ANSWER_BYTES + 1;
    let output = match program.invoke(input.as_bytes(), environment_variables(call.context), output_limit).await {
        Ok(output) => output,
        Err(reason) => return TargetOutcome::Failed(reason),
    };
    let is_truncated = output.len() > answer::MAX_ANSWER_BYTES;
    match answer::from_program_output(&output, is_truncated) {
        Ok(answer) => TargetOutcome::Answer(answer),
        Err(problem) => TargetOutcome::Failed(format!("the program printed {problem}")),
    }
}

/// The variables of a program's environment in addition to `PATH`.
fn environment_variables(context: &FunctionContext) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("RETELL_FUNCTION", context.name.clone()),
        ("RETELL_COMPANY", context.company.clone()),
        ("RETELL_INVOCATION", context.invocation_id.clone()),
        ("RETELL_RECEIVED_AT_MS", context.received_at_ms.to_string()),
    ];
    for (name, value) in [("RETELL_CALL_ID", &context.call_id), ("RETELL_TOOL_CALL_ID", &context.tool_call_id)] {
        // Ids come from the request, and an environment variable cannot hold NUL: the program could not be started.
        if let Some(value) = value
            && !value.contains('\0')
        {
            variables.push((name, value.clone()));
        }
    }
    variables
}

impl UrlTarget {
    async fn call(&self, call: TargetCall<'_>) -> TargetOutcome {
        let context = call.context;
        // A request without a body, such as GET, becomes the envelope: its query is not passed on.
        let body = if call.body.is_empty() {
            json!({ "name": context.name, "args": call.arguments }).to_string().into()
        } else {
            valid_json_body(call.body)
        };
        let post = PostRequest {
            headers: invocation_headers(context),
            same_origin_headers: self.signed_headers(&body, context),
            body,
            timeout: call.target_deadline.saturating_duration_since(Instant::now()),
        };
        let response = match self.destination.post_and_read_up_to(post, call.query, answer::MAX_ANSWER_BYTES).await {
            Ok(response) => response,
            Err(error) => return TargetOutcome::Failed(error.to_string()),
        };
        // An error page of the server must not be read to the caller as an answer.
        if !(200..300).contains(&response.status) {
            return TargetOutcome::Failed(format!("{} answered {}", self.destination, response.status));
        }
        match answer::from_http_response(&response) {
            Ok(answer) => TargetOutcome::Answer(answer),
            Err(problem) => TargetOutcome::Failed(format!("{} answered {problem}", self.destination)),
        }
    }

    /// The signatures and the configured headers. Retell's own signature is not passed on: it does not cover the
    /// envelope that replaces an empty body.
    fn signed_headers(&self, body: &Bytes, context: &FunctionContext) -> HeaderMap {
        let now_ms = self.clock.now_ms();
        let input = SigningInput {
            message_id: &context.invocation_id.as_str(),
            now_ms,
            company: context.company.as_str(),
            body,
            original_signature: None,
        };
        // Signing fails only for a company without a key. The request is sent all the same, with the other headers.
        let signed = self
            .signing
            .signed_headers(&input, &*self.signer)
            .or_else(|_| self.signing_without_key.signed_headers(&input, &*self.signer));
        let mut headers = signed.unwrap_or_default();
        insert_header(&mut headers, "webhook-timestamp", &(now_ms / 1000).to_string());
        headers
    }
}

/// Headers that identify the invocation. `webhook-id` is the name that Standard Webhooks gives the idempotency key.
fn invocation_headers(context: &FunctionContext) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer::JSON_CONTENT_TYPE));
    insert_header(&mut headers, "webhook-id", &context.invocation_id);
    insert_header(&mut headers, "idempotency-key", &context.invocation_id);
    insert_header(&mut headers, "x-retell-webhook-company", &context.company);
    insert_header(&mut headers, "x-retell-webhook-function", &context.name);
    if let Some(call_id) = &context.call_id {
        insert_header(&mut headers, "x-retell-webhook-call-id", call_id);
    }
    headers
}

/// Leaves out a value that a header cannot hold, such as a call id with a line break from an odd request.
fn insert_header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
