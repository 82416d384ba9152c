//! The operations that receive events and function calls, and the events themselves as `webhooks` of OpenAPI.

use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, Paths, PathsBuilder,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, ContentBuilder, RefOr, Required, Response, ResponseBuilder};

use super::schemas::{self, reference};
use crate::event::{EventKind, sample_body};
use crate::http::ApiError;
use crate::live::WEBHOOK_PATH;

pub(super) const TAG: &str = "webhooks";
pub(super) const FUNCTIONS_TAG: &str = "functions";
/// The tag of the events. It is not declared in the document: Swagger UI shows `webhooks` in their own section and
/// would add an empty group for a declared tag.
const EVENTS_TAG: &str = "events";
const JSON: &str = "application/json";

/// The time in the examples: 14 November 2026, 10:13:20 UTC.
const EXAMPLE_MS: i64 = 1_794_651_200_000;

const SIGNATURE_DESCRIPTION: &str = "`v=<milliseconds since the Unix epoch>,d=<64 lowercase hex digits>`: the time of \
    signing, and the HMAC-SHA256 of the raw body followed by that time, with the API key. The time may differ from the \
    clock of the receiver by up to five minutes (`security.signature_tolerance_ms`).";

/// Swagger UI sends the text of its input box unchanged, including white space; `tests/browser/run` checks that.
const TRY_IT_DESCRIPTION: &str = "To try it out, save the body as `body.json`, byte for byte as in the input box and \
    without a line break at its end. Then run `retell-webhook sign --file body.json` in the folder of the receiver.  \
    \n\
    Enter the output as `X-Retell-Signature` and execute the request within five minutes.";

const LIFECYCLE: [EventKind; 3] = [EventKind::CallStarted, EventKind::CallEnded, EventKind::CallAnalyzed];

/// The `POST` routes. Each also accepts a trailing slash and a query string.
pub(super) fn paths(paths: PathsBuilder) -> PathsBuilder {
    let event = "The webhook URL to enter in Retell's dashboard. 200 means that the signature is valid and the raw \
        body is stored durably. An inbound event is answered as on the inbound route: in time, even when the store is \
        slow or unavailable.";
    let alias = format!("The same as `{WEBHOOK_PATH}`.");
    let inbound = "Receives `call_inbound` and `chat_inbound` and answers according to the rules of `[inbound]`. When \
        no rule matches, the answer is empty and Retell continues as configured there.";
    let legacy = "The URL of an older guide. A body with `event` is an event; one with `name` is a custom function \
        call, which the function of that name answers.";
    let company = receive_operation(
        "receive_company_event",
        "Receive an event of a company",
        "Verified with the keys of the company.",
    );
    let company_inbound = inbound_operation("receive_company_inbound", "Verified with the keys of the company.");
    paths
        .path(WEBHOOK_PATH, post_path(receive_operation("receive_event", "Receive an event", event).build()))
        .path(
            "/webhook",
            post_path(receive_operation("receive_event_alias", "Receive an event (alias)", &alias).build()),
        )
        .path("/api/v1/webhook/retell/inbound", post_path(inbound_operation("receive_inbound", inbound).build()))
        .path("/api/mcp/retell/custom-function", post_path(legacy_operation(legacy)))
        .path("/api/v1/webhook/retell/{company}", post_path(with_company_parameter(company)))
        .path("/api/v1/webhook/retell/{company}/inbound", post_path(with_company_parameter(company_inbound)))
        .path(
            "/api/v1/function/{name}",
            post_path(function_operation("call_function", "A custom function of the default company.").build()),
        )
        .path(
            "/api/v1/function/{company}/{name}",
            post_path(with_company_parameter(function_operation(
                "call_company_function",
                "A custom function of a company, verified with its keys.",
            ))),
        )
}

/// The events that Retell sends, each with an example.
pub(super) fn event_webhooks() -> Paths {
    EventKind::ALL
        .into_iter()
        .fold(PathsBuilder::new(), |paths, kind| paths.path(kind.as_str(), post_path(event_operation(kind))))
        .build()
}

fn event_operation(kind: EventKind) -> Operation {
    let schema = if LIFECYCLE.contains(&kind) { schemas::CALL_EVENT } else { schemas::EVENT };
    OperationBuilder::new()
        .tag(EVENTS_TAG)
        .operation_id(Some(kind.as_str()))
        .summary(Some(format!("Retell sends {kind}")))
        .parameter(signature_parameter())
        .request_body(Some(event_body(schema, &[kind])))
        .response("200", accepted_response(kind.is_inbound()))
        .build()
}

fn post_path(operation: Operation) -> PathItem {
    PathItem::new(HttpMethod::Post, operation)
}

fn receive_operation(id: &str, summary: &str, description: &str) -> OperationBuilder {
    webhook_operation(id, summary, description)
        .request_body(Some(event_body(schemas::CALL_EVENT, &LIFECYCLE)))
        .response("200", accepted_response(false))
}

fn inbound_operation(id: &str, description: &str) -> OperationBuilder {
    webhook_operation(id, "Receive an inbound call or message", description)
        .request_body(Some(event_body(schemas::EVENT, &[EventKind::CallInbound, EventKind::ChatInbound])))
        .response("200", accepted_response(true))
}

fn with_company_parameter(operation: OperationBuilder) -> Operation {
    operation
        .parameter(company_parameter())
        .response(
            "404",
            error_response("No company with this slug in `[[companies]]`.", &[ApiError::NotFound("No such company")]),
        )
        .build()
}

pub(super) fn company_parameter() -> Parameter {
    let slug = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-z0-9-]{2,40}$"));
    ParameterBuilder::new()
        .name("company")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The `slug` of the company."))
        .schema(Some(slug))
        .build()
}

/// Only POST is described. A function also answers PUT and PATCH, or the methods that it lists.
fn function_operation(id: &str, description: &str) -> OperationBuilder {
    let full_request =
        json!({ "name": "place_order", "call": { "call_id": "call_example" }, "args": { "item": "rye" } });
    let examples = [("full_request", full_request), ("arguments_only", json!({ "item": "rye" }))];
    let examples = examples.map(|(name, body)| (name, json_example(body)));
    let content = ContentBuilder::new().schema(Some(reference(schemas::FUNCTION_CALL))).examples_from_iter(examples);
    let message = "The arguments of `place_order` cannot be used: `count` is missing. Correct them and call it again.";
    let response_bodies = [
        ("done", json!({ "order": "A-1042" })),
        ("invalid", json!({ "error": "invalid_arguments", "result": "invalid", "message": message })),
    ];
    let response_examples = response_bodies.map(|(name, body)| (name, json_example(body)));
    let response_content = ContentBuilder::new().examples_from_iter(response_examples);
    let response = ResponseBuilder::new()
        .description("The result of the function, what is wrong with the arguments, or the fallback.")
        .content(JSON, response_content.build())
        .build();
    let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-zA-Z0-9_-]{1,64}$"));
    let name = ParameterBuilder::new()
        .name("name")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The name of the function."))
        .schema(Some(name))
        .build();
    webhook_operation(id, "Call a custom function", description)
        .tags(Some([FUNCTIONS_TAG]))
        .parameter(name)
        .request_body(Some(required_json_body(content.build())))
        .response("200", response)
        .response("404", error_response("No function with this name.", &[ApiError::NotFound("No such function")]))
        .response("405", error_response("The function does not list this method.", &[ApiError::MethodNotAllowed]))
}

fn legacy_operation(description: &str) -> Operation {
    let function = json!({ "name": "place_order", "args": { "item": "rye", "count": 2 } });
    let schema = utoipa::openapi::OneOfBuilder::new()
        .item(reference(schemas::CALL_EVENT))
        .item(reference(schemas::FUNCTION_CALL));
    let examples = event_examples(&LIFECYCLE).into_iter().chain([("function".to_owned(), json_example(function))]);
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build();
    webhook_operation("receive_event_or_function", "Receive an event or a function call", description)
        .request_body(Some(required_json_body(content)))
        .response("200", accepted_response(false))
        .response("404", error_response("The function call names a function that is not configured.", &[]))
        .build()
}

/// The parameters and error responses that all webhook operations share.
fn webhook_operation(id: &str, summary: &str, description: &str) -> OperationBuilder {
    let not_json = ["The body is empty", "The body is not JSON"].map(ApiError::BadRequest);
    let bad_requests = [&[ApiError::BodyCutOff], &not_json[..]].concat();
    let operation = OperationBuilder::new()
        .tag(TAG)
        .operation_id(Some(id))
        .summary(Some(summary))
        .description(Some(format!("{description}\n\n{TRY_IT_DESCRIPTION}")))
        .parameter(signature_parameter());
    operation
        .response(
            "400",
            error_response(
                "The body was cut off or, with verification off, is not JSON. Nothing was stored.",
                &bad_requests,
            ),
        )
        .response(
            "401",
            error_response(
                "The signature is missing, malformed, stale or wrong. The response is the same for all reasons.",
                &[ApiError::Unauthorized],
            ),
        )
        .response("403", error_response("The client address is not on `security.allowlist`.", &[ApiError::Forbidden]))
        .response("408", error_response("The body did not arrive within 5 s.", &[ApiError::BodyTimeout]))
        .response(
            "413",
            error_response("The body is larger than `server.body_limit_bytes`.", &[ApiError::BodyTooLarge]),
        )
        .response(
            "500",
            error_response("An internal error; the log of the receiver has the details.", &[ApiError::Internal]),
        )
        .response("503", unavailable_response())
}

fn signature_parameter() -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^v=[0-9]+,d=[0-9a-f]{64}$"));
    ParameterBuilder::new()
        .name("X-Retell-Signature")
        .parameter_in(ParameterIn::Header)
        .required(Required::True)
        .description(Some(SIGNATURE_DESCRIPTION))
        .schema(Some(schema))
        .build()
}

fn event_body(schema: &str, kinds: &[EventKind]) -> RequestBody {
    required_json_body(
        ContentBuilder::new().schema(Some(reference(schema))).examples_from_iter(event_examples(kinds)).build(),
    )
}

fn required_json_body(content: Content) -> RequestBody {
    RequestBodyBuilder::new().required(Some(Required::True)).content(JSON, content).build()
}

/// The sample bodies that `retell-webhook send` sends.
fn event_examples(kinds: &[EventKind]) -> Vec<(String, RefOr<utoipa::openapi::example::Example>)> {
    let example = |kind: &EventKind| {
        let id = if kind.as_str().starts_with("chat_") { "chat_example" } else { "call_example" };
        let value = serde_json::from_str(&sample_body(*kind, id, EXAMPLE_MS)?).ok()?;
        Some((kind.as_str().to_owned(), json_example(value)))
    };
    kinds.iter().filter_map(example).collect()
}

fn json_example(value: Value) -> RefOr<utoipa::openapi::example::Example> {
    ExampleBuilder::new().value(Some(value)).build().into()
}

fn accepted_response(inbound: bool) -> Response {
    let (schema, bodies) = if inbound {
        (
            schemas::INBOUND_ANSWER,
            [("call_inbound", json!({ "call_inbound": {} })), ("chat_inbound", json!({ "chat_inbound": {} }))],
        )
    } else {
        (
            schemas::EVENT_RESPONSE,
            [("new", json!({ "received": true })), ("duplicate", json!({ "received": true, "duplicate": true }))],
        )
    };
    let examples = bodies.map(|(name, body)| (name, json_example(body)));
    let content = ContentBuilder::new().schema(Some(reference(schema))).examples_from_iter(examples);
    let description = if inbound {
        "The signature is valid. The event is stored durably, unless that took too long."
    } else {
        "The signature is valid and the event is stored durably."
    };
    ResponseBuilder::new().description(description).content(JSON, content.build()).build()
}

fn unavailable_response() -> Response {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer);
    let retry = HeaderBuilder::new()
        .schema(Some(seconds))
        .description(Some("Seconds to wait before the next attempt."))
        .build();
    let mut response =
        error_response("The event could not be stored. Sending it again is safe.", &[ApiError::Unavailable]);
    response.headers.insert("Retry-After".to_owned(), retry.into());
    response
}

/// An error response with the bodies that [`ApiError`] produces as examples.
fn error_response(description: &str, errors: &[ApiError]) -> Response {
    let bodies = errors
        .iter()
        .map(|error| error.status_and_message().1)
        .map(|message| (message, json_example(json!({ "message": message }))));
    let content = ContentBuilder::new().schema(Some(reference(schemas::ERROR))).examples_from_iter(bodies);
    ResponseBuilder::new().description(description).content(JSON, content.build()).build()
}
