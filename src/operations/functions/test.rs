//! Calls one function of a running receiver as Retell would.

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::{Map, Value, json};
use url::Url;

use super::all_functions;
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::config::{DEFAULT_COMPANY_SLUG, Settings};
use crate::egress;
use crate::live::functions::{OUTCOME_HEADER, function_path};
use crate::operations::signatures::optional_signing_key;
use crate::operations::{OperationError, Principal};
use crate::privacy::redact;
use crate::security::signature::{SIGNATURE_HEADER, Signature};
use crate::view::FunctionTestView;

/// The time Retell waits for a custom function by default.
const RETELL_DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// A function call to make.
pub(crate) struct FunctionTest {
    pub function: String,
    pub arguments: Map<String, Value>,
    /// The call object, or a webhook body that contains one; `None` for a call with a new id.
    pub call: Option<Value>,
    /// The slug of the company; `None` for the default company.
    pub company: Option<String>,
    /// Base URL of the receiver; `None` for its public URL.
    pub base_url: Option<String>,
}

/// Calls the function, signed with the key of its company, and judges the answer.
///
/// # Errors
/// No key is known, or the receiver does not respond. A function that fails is a result.
pub(crate) async fn test_function(
    settings: &Settings,
    clock: &Clock,
    _principal: &Principal,
    test: FunctionTest,
) -> Result<FunctionTestView, OperationError> {
    let company = test.company.as_deref();
    let base = test.base_url.unwrap_or_else(|| settings.server.public_url(settings.server.port));
    let mut url = format!("{}{}", base.trim_end_matches('/'), function_path(company, &test.function));
    let method = http_method(settings, &test.function, company)?;
    let call = test.call.unwrap_or_else(new_call);
    // A saved webhook body has the call object inside.
    let call = call.get("call").cloned().unwrap_or(call);
    // Requests without a body are signed over an empty one.
    let body = if matches!(method, Method::GET | Method::DELETE) {
        url = add_query(&url, &test.arguments, &call)?;
        Vec::new()
    } else {
        json!({ "name": test.function, "call": call, "args": test.arguments }).to_string().into_bytes()
    };
    let client = egress::build_client(RETELL_DEFAULT_TIMEOUT)?;
    let mut request = client.request(method, &url).header("content-type", "application/json");
    if let Some(key) = optional_signing_key(settings, company)? {
        let signature = Signature::sign(&key, &body, clock.now_ms());
        request = request.header(SIGNATURE_HEADER, signature.to_string());
    }
    let started = Instant::now();
    let response = request.body(body).send().await.map_err(|error| {
        OperationError::NoResponse(format!("{}: {}", redact::url(&base), egress::failure_reason(&error)))
    })?;
    let status = response.status().as_u16();
    let duration_ms = started.elapsed().as_millis();
    let outcome = response.headers().get(OUTCOME_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let answer = response.text().await.unwrap_or_default();
    let parsed: Option<Value> = serde_json::from_str(&answer).ok();
    let succeeded = (200..300).contains(&status) && is_success(outcome.as_deref(), parsed.as_ref());
    let answer_text = answer.clone();
    Ok(FunctionTestView {
        status,
        outcome,
        answer: parsed.unwrap_or(Value::String(answer)),
        duration_ms,
        succeeded,
        answer_text,
    })
}

fn new_call() -> Value {
    json!({ "call_id": format!("call_test_{}", &random_hex()[..27]), "call_status": "ongoing" })
}

/// The method that Retell is told to use. A function that is not in the settings may still exist: in a receiver that
/// defines it in Rust.
fn http_method(settings: &Settings, name: &str, company: Option<&str>) -> Result<Method, OperationError> {
    let company = company.unwrap_or(DEFAULT_COMPANY_SLUG);
    let mut functions = all_functions(settings)?.into_iter();
    let function = functions.find(|function| function.name == name && function.is_available_to(company));
    let method = function.and_then(|function| function.methods.first()?.parse().ok());
    Ok(method.unwrap_or(Method::POST))
}

/// Whether the function succeeded, by the outcome header. An answer that refuses the arguments is a failure, also if
/// the function has given it. An answer that was stored for an earlier request, or shared with another one, does not
/// have the outcome of that request any more, so its `error` field decides.
fn is_success(outcome: Option<&str>, answer: Option<&Value>) -> bool {
    let field = |name: &str| answer.and_then(|answer| answer.get(name));
    if field("result").is_some_and(|result| *result == "invalid") {
        return false;
    }
    match outcome {
        Some("answered") => true,
        None | Some("duplicate" | "shared") => field("error").is_none_or(|error| error.is_null() || *error == false),
        Some(_) => false,
    }
}

/// Adds the arguments and the call id to the query of a request that has no body.
fn add_query(url: &str, arguments: &Map<String, Value>, call: &Value) -> Result<String, OperationError> {
    let mut url = Url::parse(url)
        .map_err(|error| OperationError::InvalidInput(format!("{}: not a URL: {error}", redact::url(url))))?;
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
        let refused = json!({"result": "invalid", "message": "What name should I book it under?"});
        assert!(!is_success(Some("answered"), Some(&refused)) && !is_success(Some("duplicate"), Some(&refused)));
        assert!(is_success(Some("answered"), Some(&json!({"result": "unavailable"}))));
        assert!(!is_success(Some("failed"), Some(&good)) && !is_success(Some("timed_out"), None));
        for outcome in [None, Some("duplicate"), Some("shared")] {
            assert!(is_success(outcome, Some(&good)) && is_success(outcome, None));
            assert!(!is_success(outcome, Some(&bad)), "{outcome:?}");
        }
    }
}
