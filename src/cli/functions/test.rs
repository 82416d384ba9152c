//! `functions test`: one call, as Retell would make it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::answers::functions::function_path;
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::cli::output::{self, Done, Failure};
use crate::cli::{keys, send};
use crate::config::Settings;
use crate::egress;
use crate::security::signature::{SIGNATURE_HEADER, Signature};

/// As long as Retell waits unless it is told otherwise.
const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(in crate::cli) struct Test {
    /// The function's name
    name: String,
    /// Its arguments, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    args: String,
    /// The call object, from this file [default: one with a new call id]
    #[arg(long, value_name = "FILE")]
    call: Option<PathBuf>,
    /// Call it at this company's address, signed with its first key
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// The receiver [default: `server.url`, else the receiver on this machine]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(super) async fn run(self, settings: &Settings) -> Done {
        let base = self.to.clone().unwrap_or_else(|| settings.server.public_url(settings.server.port));
        let url = format!("{}{}", base.trim_end_matches('/'), function_path(self.company.as_deref(), &self.name));
        let body = self.body()?;
        let mut request = egress::client(TIMEOUT)?.post(&url).header("content-type", "application/json");
        if settings.security.verify || !settings.security.keys.is_empty() {
            let key = keys::first(settings, self.company.as_deref())?;
            let signature = Signature::sign(&key, &body, Clock::system().now_ms());
            request = request.header(SIGNATURE_HEADER, signature.to_string());
        }
        let began = Instant::now();
        let response = request
            .body(body)
            .send()
            .await
            .map_err(|error| Failure::Because(format!("{}: {}", output::plain(&base), egress::reason(&error))))?;
        let status = response.status().as_u16();
        let took_ms = began.elapsed().as_millis();
        let answer = response.text().await.unwrap_or_default();
        self.report(status, &answer, took_ms)
    }

    fn body(&self) -> Result<Vec<u8>, Failure> {
        let args: Map<String, Value> = serde_json::from_str(&self.args)
            .map_err(|error| Failure::Because(format!("--args is no JSON object: {error}")))?;
        let call: Value = match &self.call {
            Some(file) => serde_json::from_slice(&send::read(file)?)
                .map_err(|error| Failure::Because(format!("{}: {error}", file.display())))?,
            None => json!({ "call_id": format!("call_test_{}", &random_hex()[..27]), "call_status": "ongoing" }),
        };
        // What was captured of a webhook holds the call inside.
        let call = call.get("call").cloned().unwrap_or(call);
        Ok(json!({ "name": self.name, "call": call, "args": args }).to_string().into_bytes())
    }

    fn report(&self, status: u16, answer: &str, took_ms: u128) -> Done {
        let read: Option<Value> = serde_json::from_str(answer).ok();
        let error = read.as_ref().is_some_and(|answer| answer.get("error").is_some());
        if self.json {
            let answer = read.unwrap_or_else(|| answer.into());
            output::json(&json!({ "status": status, "answer": answer, "duration_ms": took_ms }))?;
        } else {
            output::line(format!("{status} in {took_ms} ms: {}", output::plain(answer)))?;
        }
        match status {
            200..300 if !error => Ok(()),
            401 => Err(Failure::Because(send::OTHER_KEY.into())),
            _ => Err(Failure::Said),
        }
    }
}
