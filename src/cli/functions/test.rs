//! `functions test`: one call, as Retell would make it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::http::Method;
use clap::Args;
use serde_json::{Map, Value, json};

use super::all_functions;
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::{keys, send};
use crate::config::{DEFAULT_COMPANY_SLUG, Settings};
use crate::egress;
use crate::live::functions::{OUTCOME_HEADER, function_path};
use crate::security::signature::{SIGNATURE_HEADER, Signature};

/// As long as Retell waits unless it is told otherwise.
const RETELL_DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(in crate::cli) struct FunctionsTestArgs {
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

impl FunctionsTestArgs {
    pub(super) async fn run(self, settings: &Settings) -> CliResult {
        let base = self.to.clone().unwrap_or_else(|| settings.server.public_url(settings.server.port));
        let mut url = format!("{}{}", base.trim_end_matches('/'), function_path(self.company.as_deref(), &self.name));
        let method = self.http_method(settings)?;
        let (arguments, call) = (self.parse_arguments()?, self.load_call()?);
        let body = if matches!(method, Method::GET | Method::DELETE) {
            url = add_query(&url, &arguments, &call)?;
            Vec::new()
        } else {
            json!({ "name": self.name, "call": call, "args": arguments }).to_string().into_bytes()
        };
        let mut request = egress::build_client(RETELL_DEFAULT_TIMEOUT)?
            .request(method, &url)
            .header("content-type", "application/json");
        if settings.security.verify || !settings.security.keys.is_empty() {
            let key = keys::signing_key(settings, self.company.as_deref())?;
            let signature = Signature::sign(&key, &body, Clock::system().now_ms());
            request = request.header(SIGNATURE_HEADER, signature.to_string());
        }
        let began = Instant::now();
        let response = request.body(body).send().await.map_err(|error| {
            CliError::Message(format!("{}: {}", output::sanitize(&base), egress::failure_reason(&error)))
        })?;
        let status = response.status().as_u16();
        let took_ms = began.elapsed().as_millis();
        let outcome = response.headers().get(OUTCOME_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let answer = response.text().await.unwrap_or_default();
        self.print_report((status, outcome.as_deref()), &answer, took_ms)
    }

    /// The one that Retell is told to use. A function that is not in the settings was given in Rust, to another program.
    fn http_method(&self, settings: &Settings) -> Result<Method, CliError> {
        let company = self.company.as_deref().unwrap_or(DEFAULT_COMPANY_SLUG);
        let table = all_functions(settings)?
            .into_iter()
            .find(|table| table.name == self.name && table.is_available_to(company));
        let method = table.and_then(|table| table.methods.first()?.parse().ok());
        Ok(method.unwrap_or(Method::POST))
    }

    fn parse_arguments(&self) -> Result<Map<String, Value>, CliError> {
        serde_json::from_str(&self.args)
            .map_err(|error| CliError::Message(format!("--args is no JSON object: {error}")))
    }

    fn load_call(&self) -> Result<Value, CliError> {
        let call: Value = match &self.call {
            Some(file) => serde_json::from_slice(&send::read_file_or_stdin(file)?)
                .map_err(|error| CliError::Message(format!("{}: {error}", file.display())))?,
            None => json!({ "call_id": format!("call_test_{}", &random_hex()[..27]), "call_status": "ongoing" }),
        };
        // What was captured of a webhook holds the call inside.
        Ok(call.get("call").cloned().unwrap_or(call))
    }

    fn print_report(&self, (status, outcome): (u16, Option<&str>), answer: &str, took_ms: u128) -> CliResult {
        let read: Option<Value> = serde_json::from_str(answer).ok();
        let done = is_success(outcome, read.as_ref());
        if self.json {
            let answer = read.unwrap_or_else(|| answer.into());
            let report = json!({ "status": status, "outcome": outcome, "answer": answer, "duration_ms": took_ms });
            output::print_json(&report)?;
        } else {
            let outcome = outcome.map(|outcome| format!(" {}", output::sanitize(outcome))).unwrap_or_default();
            output::print_line(format!("{status}{outcome} in {took_ms} ms: {}", output::sanitize(answer)))?;
        }
        match status {
            200..300 if done => Ok(()),
            401 => Err(CliError::Message(send::REJECTED_MESSAGE.into())),
            _ => Err(CliError::AlreadyPrinted),
        }
    }
}

/// The receiver says so. An answer it had kept, or that it sent to two, says by itself whether it is an error.
fn is_success(outcome: Option<&str>, answer: Option<&Value>) -> bool {
    match outcome {
        Some("answered") => true,
        None | Some("duplicate" | "shared") => {
            answer.and_then(|answer| answer.get("error")).is_none_or(|error| error.is_null() || *error == false)
        }
        Some(_) => false,
    }
}

/// The arguments and the call's id where there is no body.
fn add_query(url: &str, arguments: &Map<String, Value>, call: &Value) -> Result<String, CliError> {
    let mut url = url::Url::parse(url)
        .map_err(|error| CliError::Message(format!("{} is no URL: {error}", output::sanitize(url))))?;
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    url.query_pairs_mut()
        .extend_pairs(arguments.iter().map(|(name, value)| (name, text(value))))
        .extend_pairs(call.get("call_id").map(|id| ("call_id", text(id))));
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_receiver_says_counts_before_the_answer() {
        let (good, bad) = (json!({"error": null, "ok": true}), json!({"error": "unavailable"}));
        assert!(is_success(Some("answered"), Some(&bad)) && is_success(Some("answered"), None));
        assert!(!is_success(Some("failed"), Some(&good)) && !is_success(Some("timed_out"), None));
        for told_by_the_answer in [None, Some("duplicate"), Some("shared")] {
            assert!(is_success(told_by_the_answer, Some(&good)) && is_success(told_by_the_answer, None));
            assert!(!is_success(told_by_the_answer, Some(&bad)), "{told_by_the_answer:?}");
        }
    }
}
