//! The paths of custom functions, and the responses to requests for them.

use std::sync::Arc;

use axum::Extension;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;

use super::answer;
use super::request::{FunctionRequest, UnusableRequest};
use super::service::FunctionService;
use crate::config::DEFAULT_COMPANY_SLUG;
use crate::http::layer::AccessLogFields;
use crate::http::{ApiError, Refusal, RefusalReason};
use crate::privacy::redact;
use crate::storage::StoredAnswer;

pub(crate) const FUNCTION_ROUTES: [&str; 2] = ["/api/v1/function/{name}", "/api/v1/function/{company}/{name}"];

/// The methods that `methods` of a function may list.
pub(crate) const FUNCTION_METHODS: MethodFilter =
    MethodFilter::POST.or(MethodFilter::PUT).or(MethodFilter::PATCH).or(MethodFilter::GET).or(MethodFilter::DELETE);

/// Response header with the outcome of the invocation, one of the values of the metric label `outcome`. The status
/// does not tell, as every answer is sent with 200.
pub(crate) const OUTCOME_HEADER: &str = "x-retell-webhook-outcome";

/// The path of a function for a company; for `None` or the default company the path without a slug.
#[must_use]
pub(crate) fn function_path(company: Option<&str>, name: &str) -> String {
    match company.filter(|slug| *slug != DEFAULT_COMPANY_SLUG) {
        Some(company) => format!("/api/v1/function/{company}/{name}"),
        None => format!("/api/v1/function/{name}"),
    }
}

/// Answers a request with status 200 whatever the function did: Retell repeats a request that was answered with 4xx or
/// 5xx.
///
/// # Errors
/// Only a request that could not be read as a request for a function. A method that is not listed is answered with 405, a
/// signature that was used for another function or for an event with 401, and an unknown function with 404.
pub(crate) async fn answer_request(
    functions: &FunctionService,
    request: FunctionRequest,
) -> Result<Response, ApiError> {
    let invocation = match request.parse(&functions.registry()) {
        Ok(invocation) => invocation,
        Err(UnusableRequest::UnknownFunction(name)) => {
            functions.count_unknown_function();
            return Ok(unknown_function_response(&name));
        }
        Err(UnusableRequest::MethodNotAllowed(allowed)) => {
            return Ok(([(header::ALLOW, allowed)], ApiError::MethodNotAllowed).into_response());
        }
    };
    let function = Arc::clone(&invocation.function);
    let call_id = invocation.call_id();
    let size_bytes = invocation.original.body.len();
    let reply = functions.invoke(invocation).await;
    let Some(answer) = reply.answer() else {
        return Ok(reused_signature_response(functions, &function.settings.name));
    };
    let log_fields = AccessLogFields { event: "custom_function", call_id, outcome: reply.outcome.as_str(), size_bytes };
    Ok(answer_response(answer, log_fields))
}

/// Status 200 with the answer. The extension carries the fields to the access log.
fn answer_response(answer: &StoredAnswer, log_fields: AccessLogFields) -> Response {
    let content_type = HeaderValue::from_str(&answer.content_type);
    let content_type = content_type.unwrap_or_else(|_| HeaderValue::from_static("text/plain; charset=utf-8"));
    let outcome = (HeaderName::from_static(OUTCOME_HEADER), HeaderValue::from_static(log_fields.outcome));
    let headers = [(header::CONTENT_TYPE, content_type), outcome];
    (StatusCode::OK, Extension(log_fields), headers, answer.body.clone()).into_response()
}

fn unknown_function_response(name: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(answer::JSON_CONTENT_TYPE))];
    let refusal = Extension(refusal(RefusalReason::UnknownFunction, name));
    (StatusCode::NOT_FOUND, headers, refusal, answer::unknown_function_body()).into_response()
}

fn reused_signature_response(functions: &FunctionService, name: &str) -> Response {
    functions.count_reused_signature();
    let mut response = ApiError::SignatureReused.into_response();
    response.extensions_mut().insert(refusal(RefusalReason::SignatureReused, name));
    response
}

/// The extension for the log. The name was chosen by the sender and may contain a phone number.
fn refusal(reason: RefusalReason, function: &str) -> Refusal {
    Refusal { reason, function: Some(redact::path(function)) }
}
