//! What is called: a URL, a program, or something in this process.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::super::{Called, Function, FunctionContext};
use super::reply;
use crate::base::clock::Clock;
use crate::config::{FunctionSettings, ProgramPath, RetellSignature};
use crate::egress::{Destination, Egress, Post};
use crate::handlers::{AnsweringProgram, Signed, Signer, Signing, Tools};
use crate::storage::StoredAnswer;

/// What is called.
pub(super) enum Target {
    Url(Box<Url>),
    Program(AnsweringProgram),
    Own(Arc<dyn Function>),
}

/// Posts requests on.
pub(super) struct Url {
    destination: Destination,
    signing: Signing,
    /// Where the company has no key, as verification is off.
    unsigned: Signing,
    signer: Arc<dyn Signer>,
    clock: Clock,
}

/// What came of it.
pub(super) enum Came {
    Answer(StoredAnswer),
    /// The request cannot be used; this says why.
    Unfit(StoredAnswer),
    /// So does the function itself.
    Invalid(String),
    Failed(String),
}

impl Target {
    /// The one a table names, but for those in this process.
    pub(super) fn of(table: &FunctionSettings, tools: &Tools) -> Result<Self, (&'static str, String)> {
        let Some(url) = &table.url else {
            let program = AnsweringProgram::new(&table.command, tools.program_path.clone());
            return program.map(Self::Program).map_err(|why| ("command", why));
        };
        let target = tools.egress.target(url.expose()).map_err(|why| ("url", why))?;
        let destination = tools.egress.destination(target, 0).map_err(|error| ("url", error.to_string()))?;
        Ok(Self::Url(Box::new(Url {
            destination,
            signing: Signing::new(table.secret.as_ref(), RetellSignature::Fresh, &table.headers)?,
            unsigned: Signing::new(table.secret.as_ref(), RetellSignature::None, &table.headers)?,
            signer: Arc::clone(&tools.signer),
            clock: tools.clock.clone(),
        })))
    }

    /// Refuses what [`Target::of`] would refuse, without making anything.
    pub(super) fn check(
        table: &FunctionSettings,
        egress: &Egress,
        path: &ProgramPath,
    ) -> Result<(), (&'static str, String)> {
        let Some(url) = &table.url else {
            return AnsweringProgram::new(&table.command, path.clone()).map(drop).map_err(|why| ("command", why));
        };
        egress.target(url.expose()).map_err(|why| ("url", why))?;
        Signing::new(table.secret.as_ref(), RetellSignature::Fresh, &table.headers).map(drop)
    }

    /// Calls it. The caller sees to the deadline.
    pub(super) async fn call(&self, body: &Bytes, arguments: &Map<String, Value>, context: &FunctionContext) -> Came {
        match self {
            Self::Url(url) => url.call(body, arguments, context).await,
            Self::Program(program) => {
                let input = Value::Object(arguments.clone()).to_string();
                match program.ask(input.as_bytes(), variables(context), reply::MOST_BYTES + 1).await {
                    Ok(output) => {
                        let is_json = serde_json::from_slice::<Value>(&output).is_ok();
                        Came::Answer(reply::of_bytes(&output, is_json, output.len() > reply::MOST_BYTES))
                    }
                    Err(why) => Came::Failed(why),
                }
            }
            Self::Own(function) => match AssertUnwindSafe(function.call(arguments, context)).catch_unwind().await {
                Ok(Called::Answer(value)) => Came::Answer(reply::of_value(&value)),
                Ok(Called::Invalid(why)) => Came::Invalid(why),
                Ok(Called::Failed(why)) => Came::Failed(why),
                Err(_) => Came::Failed("the function panicked".to_owned()),
            },
        }
    }
}

/// What a program finds in its environment, beside PATH.
fn variables(context: &FunctionContext) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("RETELL_FUNCTION", context.name.clone()),
        ("RETELL_COMPANY", context.company.clone()),
        ("RETELL_INVOCATION", context.invocation.clone()),
        ("RETELL_RECEIVED_AT_MS", context.received_at_ms.to_string()),
    ];
    let mut add = |name, value: &Option<String>| {
        variables.extend(value.clone().filter(|value| !value.contains('\0')).map(|value| (name, value)));
    };
    add("RETELL_CALL_ID", &context.call_id);
    add("RETELL_TOOL_CALL_ID", &context.tool_call_id);
    variables
}

impl Url {
    async fn call(&self, body: &Bytes, arguments: &Map<String, Value>, context: &FunctionContext) -> Came {
        let body = if body.is_empty() {
            json!({ "name": context.name, "args": arguments }).to_string().into()
        } else {
            body.clone()
        };
        let private = self.private(&body, context);
        let within = context.deadline.saturating_duration_since(Instant::now());
        let post = Post { headers: about(context), private, body, within };
        let reply = match self.destination.ask_beginning(post, reply::MOST_BYTES).await {
            Ok(reply) => reply,
            Err(error) => return Came::Failed(error.to_string()),
        };
        if !(200..300).contains(&reply.status) {
            return Came::Failed(format!("{} answered {}", self.destination, reply.status));
        }
        let media_type = reply.content_type.unwrap_or_default().to_ascii_lowercase();
        let says_json = media_type.starts_with("application/json") || media_type.contains("+json");
        let is_json = !reply.more && serde_json::from_slice::<serde::de::IgnoredAny>(&reply.body).is_ok();
        if says_json && !is_json && !reply.more {
            return Came::Failed(format!("{} answered what it calls JSON, and is not", self.destination));
        }
        Came::Answer(reply::of_bytes(&reply.body, is_json, reply.more))
    }

    fn private(&self, body: &Bytes, context: &FunctionContext) -> HeaderMap {
        let now_ms = self.clock.now_ms();
        let (id, company) = (context.invocation.as_str(), context.company.as_str());
        let what = Signed { id: &id, now_ms, company, body, original: None };
        let signed =
            self.signing.headers(&what, &*self.signer).or_else(|_| self.unsigned.headers(&what, &*self.signer));
        let mut headers = signed.unwrap_or_default();
        put(&mut headers, "webhook-timestamp", &(now_ms / 1000).to_string());
        headers
    }
}

/// What says which invocation this is.
fn about(context: &FunctionContext) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply::JSON));
    put(&mut headers, "webhook-id", &context.invocation);
    put(&mut headers, "idempotency-key", &context.invocation);
    put(&mut headers, "x-retell-webhook-company", &context.company);
    put(&mut headers, "x-retell-webhook-function", &context.name);
    if let Some(call_id) = &context.call_id {
        put(&mut headers, "x-retell-webhook-call-id", call_id);
    }
    headers
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
