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

/// What it is called with.
pub(super) struct Call<'a> {
    pub(super) body: &'a Bytes,
    /// Beside a body.
    pub(super) query: Option<&'a str>,
    pub(super) arguments: &'a Map<String, Value>,
    pub(super) context: &'a FunctionContext,
    /// It is given up then, if it goes on beyond the deadline.
    pub(super) until: Instant,
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

    /// Whether it goes on when its answer is late. A program is killed then, as nobody else would end it.
    pub(super) fn outlives_deadline(&self) -> bool {
        !matches!(self, Self::Program(_))
    }

    /// Calls it. The caller sees to the deadline.
    pub(super) async fn call(&self, call: Call<'_>) -> Came {
        match self {
            Self::Url(url) => url.call(call).await,
            Self::Program(program) => {
                let input = Value::Object(call.arguments.clone()).to_string();
                let output = program.ask(input.as_bytes(), variables(call.context), reply::MOST_BYTES + 1);
                match output.await {
                    Ok(output) => {
                        let is_json = serde_json::from_slice::<Value>(&output).is_ok();
                        reply::of_bytes(&output, is_json, output.len() > reply::MOST_BYTES)
                            .map_or_else(|why| Came::Failed(why.to_owned()), Came::Answer)
                    }
                    Err(why) => Came::Failed(why),
                }
            }
            Self::Own(own) => match AssertUnwindSafe(own.call(call.arguments, call.context)).catch_unwind().await {
                Ok(Called::Answer(value)) => Came::Answer(reply::of_value(&value)),
                Ok(Called::Invalid(why)) => Came::Invalid(why),
                Ok(Called::Failed(why)) => Came::Failed(why),
                Err(_) => Came::Failed("the function panicked".to_owned()),
            },
        }
    }
}

impl Target {
    /// Whether what an earlier invocation did still stands; what is not in this process is not asked.
    pub(super) async fn still_holds(&self, context: &FunctionContext) -> bool {
        match self {
            Self::Own(function) => function.still_holds(context).await,
            Self::Url(_) | Self::Program(_) => true,
        }
    }

    /// Whether it says by itself what is wrong with its arguments.
    pub(super) fn checks_arguments(&self) -> bool {
        matches!(self, Self::Own(function) if function.checks_arguments())
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
    async fn call(&self, call: Call<'_>) -> Came {
        let context = call.context;
        let body = if call.body.is_empty() {
            json!({ "name": context.name, "args": call.arguments }).to_string().into()
        } else {
            call.body.clone()
        };
        let private = self.private(&body, context);
        let within = call.until.saturating_duration_since(Instant::now());
        let post = Post { headers: about(context), private, body, within };
        let reply = match self.destination.ask_beginning(post, call.query, reply::MOST_BYTES).await {
            Ok(reply) => reply,
            Err(error) => return Came::Failed(error.to_string()),
        };
        if !(200..300).contains(&reply.status) {
            return Came::Failed(format!("{} answered {}", self.destination, reply.status));
        }
        reply::of_server(&reply)
            .map_or_else(|why| Came::Failed(format!("{} answered {why}", self.destination)), Came::Answer)
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
