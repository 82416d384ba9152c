//! `functions test`: calls one function as Retell would.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::http::Method;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::{keys, send};
use crate::config::{DEFAULT_COMPANY_SLUG, Settings};
use crate::egress;
use crate::live::functions::{OUTCOME_HEADER, function_path};
use crate::operations::functions::all_functions;
use crate::security::signature::{SIGNATURE_HEADER, Signature};
use crate::simulation::REJECTED_MESSAGE;
use crate::view::FunctionTestView;

/// The time Retell waits for a custom function by default.
const RETELL_DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(in crate::cli) struct FunctionsTestArgs {
    /// Name of the function to call
    name: String,
    /// Arguments, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    args: String,
    /// File with the call object, or with a webhook body that contains one [default: a call with a new id]
    #[arg(long, value_name = "FILE")]
    call: Option<PathBuf>,
    /// Use the URL of this company, and sign with its first key
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
    /// Base URL of the receiver [default: server.url, otherwise the receiver on this machine]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl FunctionsTestArgs {
    pub(super) async fn run(self, settings: &Settings) -> CliResult {
        let base = self.to.clone().unwrap_or_else(|| settings.server.public_url(settings.server.port));
        let mut url = format!("{}{}", base.trim_end_matches('/'), function_path(self.company.as_deref(), &self.name));
        let method = self.http_method(settings)?;
        let arguments = self.parse_arguments()?;
        let call = self.load_call()?;
        // Requests without a body are signed over an empty one.
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
        let started = Instant::now();
        let response = request.body(body).send().await.map_err(|error| {
            CliError::Message(format!("{}: {}", output::sanitize(&base), egress::failure_reason(&error)))
        })?;
        let status = response.status().as_u16();
        let duration_ms = started.elapsed().as_millis();
        let outcome = response.headers().get(OUTCOME_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let answer = response.text().await.unwrap_or_default();
        self.print_report(status, outcome.as_deref(), &answer, duration_ms)
    }

    /// The method that `functions schema` gives Retell. A function that is not in the settings may still exist: in a
    /// receiver that defines it in Rust.
    fn http_method(&self, settings: &Settings) -> Result<Method, CliError> {
        let company = self.company.as_deref().unwrap_or(DEFAULT_COMPANY_SLUG);
        let mut functions = all_functions(settings)?.into_iter();
        let function = functions.find(|function| function.name == self.name && function.is_available_to(company));
        let method = function.and_then(|function| function.methods.first()?.parse().ok());
        Ok(method.unwrap_or(Method::POST))
    }

    fn parse_arguments(&self) -> Result<Map<String, Value>, CliError> {
        serde_json::from_str(&self.args)
            .map_err(|error| CliError::Message(format!("--args: not a JSON object: {error}")))
    }

    fn load_call(&self) -> Result<Value, CliError> {
        let call: Value = match &self.call {
            Some(file) => serde_json::from_slice(&send::read_file_or_stdin(file)?)
                .map_err(|error| CliError::Message(format!("--call {}: not valid JSON: {error}", file.display())))?,
            None => json!({ "call_id": format!("call_test_{}", &random_hex()[..27]), "call_status": "ongoing" }),
        };
        // A saved webhook body has the call object inside.
        Ok(call.get("call").cloned().unwrap_or(call))
    }

    fn print_report(&self, status: u16, outcome: Option<&str>, answer: &str, duration_ms: u128) -> CliResult {
        let parsed: Option<Value> = serde_json::from_str(answer).ok();
        let is_success = is_success(outcome, parsed.as_ref());
        if self.json {
            let answer = parsed.unwrap_or_else(|| answer.into());
            let outcome = outcome.map(str::to_owned);
            output::print_json(&FunctionTestView { status, outcome, answer, duration_ms })?;
        } else {
            let outcome = outcome.map(|outcome| format!(" {}", output::sanitize(outcome))).unwrap_or_default();
            output::print_line(format!("{status}{outcome} in {duration_ms} ms: {}", output::sanitize(answer)))?;
        }
        match status {
            200..300 if is_success => Ok(()),
            401 => Err(CliError::Message(REJECTED_MESSAGE.into())),
            _ => Err(CliError::AlreadyPrinted),
        }
    }
}

/// Whether the function succeeded, by the outcome header. An answer that was stored for an earlier request, or shared
/// with another one, does not have the outcome of that request any more, so its `error` field decides.
fn is_success(outcome: Option<&str>, answer: Option<&Value>) -> bool {
    match outcome {
        Some("answered") => true,
        None | Some("duplicate" | "shared") => {
            answer.and_then(|answer| answer.get("error")).is_none_or(|error| error.is_null() || *error == false)
        }
        Some(_) => false,
    }
}

/// Adds the arguments and the call id to the query of a request that has no body.
fn add_query(url: &str, arguments: &Map<String, Value>, call: &Value) -> Result<String, CliError> {
    let mut url = url::Url::parse(url)
        .map_err(|error| CliError::Message(format!("{}: not a URL: {error}", output::sanitize(url))))?;
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
    fn the_outcome_header_takes_precedence_over_the_answer() {
        let good = json!({"error": null, "ok": true});
        let bad = json!({"error": "unavailable"});
        assert!(is_success(Some("answered"), Some(&bad)) && is_success(Some("answered"), None));
        assert!(!is_success(Some("failed"), Some(&good)) && !is_success(Some("timed_out"), None));
        for outcome in [None, Some("duplicate"), Some("shared")] {
            assert!(is_success(outcome, Some(&good)) && is_success(outcome, None));
            assert!(!is_success(outcome, Some(&bad)), "{outcome:?}");
        }
    }
}
