//! What is called: a URL, a program, or something in this process.

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
use crate::config::{FunctionSettings, ProgramSearchPath, RetellSignatureMode};
use crate::egress::{Destination, Egress, PostRequest};
use crate::handlers::{FunctionProgram, HandlerDeps, RequestSigner, RetellSigner, SigningInput};
use crate::storage::StoredAnswer;

/// What is called.
pub(super) enum FunctionTarget {
    Url(Box<UrlTarget>),
    Program(FunctionProgram),
    InProcess(Arc<dyn Function>),
}

/// Posts requests on.
pub(super) struct UrlTarget {
    destination: Destination,
    signing: RequestSigner,
    /// Where the company has no key, as verification is off.
    signing_without_key: RequestSigner,
    signer: Arc<dyn RetellSigner>,
    clock: Clock,
}

/// What it is called with.
pub(super) struct TargetCall<'a> {
    pub(super) body: &'a Bytes,
    /// Beside a body.
    pub(super) query: Option<&'a str>,
    pub(super) arguments: &'a Map<String, Value>,
    pub(super) context: &'a FunctionContext,
    /// It is given up then, if it goes on beyond the deadline.
    pub(super) target_deadline: Instant,
}

/// What came of it.
pub(super) enum TargetOutcome {
    Answer(StoredAnswer),
    /// The request cannot be used; this says why.
    InvalidRequest(StoredAnswer),
    /// So does the function itself.
    InvalidArguments(String),
    Failed(String),
}

impl FunctionTarget {
    /// The one a table names, but for those in this process.
    pub(super) fn from_settings(table: &FunctionSettings, tools: &HandlerDeps) -> Result<Self, (&'static str, String)> {
        let Some(url) = &table.url else {
            let program = FunctionProgram::new(&table.command, tools.program_search_path.clone());
            return program.map(Self::Program).map_err(|why| ("command", why));
        };
        let target = tools.egress.parse_url(url.expose()).map_err(|why| ("url", why))?;
        let destination = tools.egress.destination(target, 0).map_err(|error| ("url", error.to_string()))?;
        Ok(Self::Url(Box::new(UrlTarget {
            destination,
            signing: RequestSigner::new(table.secret.as_ref(), RetellSignatureMode::Fresh, &table.headers)?,
            signing_without_key: RequestSigner::new(table.secret.as_ref(), RetellSignatureMode::None, &table.headers)?,
            signer: Arc::clone(&tools.retell_signer),
            clock: tools.clock.clone(),
        })))
    }

    /// Refuses what [`FunctionTarget::of`] would refuse, without making anything.
    pub(super) fn check(
        table: &FunctionSettings,
        egress: &Egress,
        path: &ProgramSearchPath,
    ) -> Result<(), (&'static str, String)> {
        let Some(url) = &table.url else {
            return FunctionProgram::new(&table.command, path.clone()).map(drop).map_err(|why| ("command", why));
        };
        egress.parse_url(url.expose()).map_err(|why| ("url", why))?;
        RequestSigner::new(table.secret.as_ref(), RetellSignatureMode::Fresh, &table.headers).map(drop)
    }

    /// Whether it goes on when its answer is late. A program is killed then, as nobody else would end it.
    pub(super) fn outlives_deadline(&self) -> bool {
        !matches!(self, Self::Program(_))
    }

    /// Calls it. The caller sees to the deadline.
    pub(super) async fn call(&self, call: TargetCall<'_>) -> TargetOutcome {
        match self {
            Self::Url(url) => url.call(call).await,
            Self::Program(program) => {
                let input = Value::Object(call.arguments.clone()).to_string();
                let output =
                    program.invoke(input.as_bytes(), environment_variables(call.context), answer::MAX_ANSWER_BYTES + 1);
                match output.await {
                    Ok(output) => {
                        let is_json = serde_json::from_slice::<Value>(&output).is_ok();
                        answer::from_bytes(&output, is_json, output.len() > answer::MAX_ANSWER_BYTES)
                            .map_or_else(|why| TargetOutcome::Failed(why.to_owned()), TargetOutcome::Answer)
                    }
                    Err(why) => TargetOutcome::Failed(why),
                }
            }
            Self::InProcess(own) => match AssertUnwindSafe(own.call(call.arguments, call.context)).catch_unwind().await
            {
                Ok(FunctionOutcome::Answer(value)) => TargetOutcome::Answer(answer::from_value(&value)),
                Ok(FunctionOutcome::InvalidArguments(why)) => TargetOutcome::InvalidArguments(why),
                Ok(FunctionOutcome::Failed(why)) => TargetOutcome::Failed(why),
                Err(_) => TargetOutcome::Failed("the function panicked".to_owned()),
            },
        }
    }
}

impl FunctionTarget {
    /// Whether what an earlier invocation did still stands; what is not in this process is not asked.
    pub(super) async fn can_reuse_answer(&self, context: &FunctionContext) -> bool {
        match self {
            Self::InProcess(function) => function.can_reuse_answer(context).await,
            Self::Url(_) | Self::Program(_) => true,
        }
    }

    /// Whether it says by itself what is wrong with its arguments.
    pub(super) fn checks_arguments(&self) -> bool {
        matches!(self, Self::InProcess(function) if function.checks_arguments())
    }
}

/// What a program finds in its environment, beside PATH.
fn environment_variables(context: &FunctionContext) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("RETELL_FUNCTION", context.name.clone()),
        ("RETELL_COMPANY", context.company.clone()),
        ("RETELL_INVOCATION", context.invocation_id.clone()),
        ("RETELL_RECEIVED_AT_MS", context.received_at_ms.to_string()),
    ];
    let mut add = |name, value: &Option<String>| {
        variables.extend(value.clone().filter(|value| !value.contains('\0')).map(|value| (name, value)));
    };
    add("RETELL_CALL_ID", &context.call_id);
    add("RETELL_TOOL_CALL_ID", &context.tool_call_id);
    variables
}

impl UrlTarget {
    async fn call(&self, call: TargetCall<'_>) -> TargetOutcome {
        let context = call.context;
        let body = if call.body.is_empty() {
            json!({ "name": context.name, "args": call.arguments }).to_string().into()
        } else {
            call.body.clone()
        };
        let private = self.signed_headers(&body, context);
        let within = call.target_deadline.saturating_duration_since(Instant::now());
        let post =
            PostRequest { headers: invocation_headers(context), same_origin_headers: private, body, timeout: within };
        let reply = match self.destination.post_and_read_up_to(post, call.query, answer::MAX_ANSWER_BYTES).await {
            Ok(reply) => reply,
            Err(error) => return TargetOutcome::Failed(error.to_string()),
        };
        if !(200..300).contains(&reply.status) {
            return TargetOutcome::Failed(format!("{} answered {}", self.destination, reply.status));
        }
        answer::from_http_response(&reply).map_or_else(
            |why| TargetOutcome::Failed(format!("{} answered {why}", self.destination)),
            TargetOutcome::Answer,
        )
    }

    fn signed_headers(&self, body: &Bytes, context: &FunctionContext) -> HeaderMap {
        let now_ms = self.clock.now_ms();
        let (id, company) = (context.invocation_id.as_str(), context.company.as_str());
        let what = SigningInput { message_id: &id, now_ms, company, body, original_signature: None };
        let signed = self
            .signing
            .signed_headers(&what, &*self.signer)
            .or_else(|_| self.signing_without_key.signed_headers(&what, &*self.signer));
        let mut headers = signed.unwrap_or_default();
        insert_header(&mut headers, "webhook-timestamp", &(now_ms / 1000).to_string());
        headers
    }
}

/// What says which invocation this is.
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

fn insert_header(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
