//! The operations that take events in, and the events themselves as OpenAPI's `webhooks`.

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
use crate::intake::WEBHOOK_PATH;

pub(super) const TAG: &str = "webhooks";
/// Groups what Retell sends. Not declared, because Swagger UI shows those apart and would leave an empty group.
const EVENTS_TAG: &str = "events";
const JSON: &str = "application/json";

/// A time for the examples: 14 November 2026, 10:13:20 UTC.
const EXAMPLE_MS: i64 = 1_794_651_200_000;

const SIGNATURE_DESCRIPTION: &str = "`v=<ms since 1970>,d=<64 lowercase hex digits>`: the time of signing, and the \
    HMAC-SHA256 of the raw body followed by that time, with the API key. The time may be five minutes off \
    (`security.signature_tolerance_ms`).";

/// Two lines. Swagger UI sends the text of its box as it stands, white space and all; `tests/browser/run` holds it to that.
const TRY_IT_DESCRIPTION: &str = "To try it, save the body as `body.json`, byte for byte as in the box and without a line break at \
    its end, and run `retell-webhook sign --file body.json` in the server's folder.  \n\
    Paste what that prints into `X-Retell-Signature` and execute within five minutes.";

const LIFECYCLE: [EventKind; 3] = [EventKind::CallStarted, EventKind::CallEnded, EventKind::CallAnalyzed];

/// `POST` routes. A trailing slash and a query string are accepted on each.
pub(super) fn paths(paths: PathsBuilder) -> PathsBuilder {
    let event = "The address to enter at Retell. 200 means: the signature fits, and the bytes are on disk. \
        An inbound event is answered here as on the inbound address: in time, also when the store is slow or away.";
    let alias = format!("The same as `{WEBHOOK_PATH}`.");
    let inbound = "Takes `call_inbound` and `chat_inbound` in and answers by the rules of `[inbound]`; when none holds, with \
        nothing to change: Retell goes on as configured there.";
    let guide = "An address an older guide gave out. A body with `event` is an event; one with `name` is a custom \
        function's call, answered by the function of that name.";
    let company =
        receive_operation("receive_company_event", "Receive a company's event", "With the keys of the company.");
    let company_inbound = inbound_operation("receive_company_inbound", "With the keys of the company.");
    paths
        .path(WEBHOOK_PATH, post_path(receive_operation("receive_event", "Receive an event", event).build()))
        .path(
            "/webhook",
            post_path(receive_operation("receive_event_alias", "Receive an event (alias)", &alias).build()),
        )
        .path("/api/v1/webhook/retell/inbound", post_path(inbound_operation("receive_inbound", inbound).build()))
        .path("/api/mcp/retell/custom-function", post_path(guide_operation(guide)))
        .path("/api/v1/webhook/retell/{company}", post_path(with_company_parameter(company)))
        .path("/api/v1/webhook/retell/{company}/inbound", post_path(with_company_parameter(company_inbound)))
        .path(
            "/api/v1/function/{name}",
            post_path(function_operation("call_function", "A function of the plain route's company.").build()),
        )
        .path(
            "/api/v1/function/{company}/{name}",
            post_path(with_company_parameter(function_operation(
                "call_company_function",
                "A function of a company, with its keys.",
            ))),
        )
}

/// What Retell sends, each event with an example.
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
            error_response("No such company in `[[companies]]`.", &[ApiError::NotFound("No such company")]),
        )
        .build()
}

/// The part of a path that names a company.
pub(super) fn company_parameter() -> Parameter {
    let slug = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-z0-9-]{2,40}$"));
    ParameterBuilder::new()
        .name("company")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The company's `slug`."))
        .schema(Some(slug))
        .build()
}

/// PUT and PATCH are answered alike, unless the function lists other methods.
fn function_operation(id: &str, description: &str) -> OperationBuilder {
    let whole = json!({ "name": "place_order", "call": { "call_id": "call_example" }, "args": { "item": "rye" } });
    let examples = [("whole", whole), ("arguments_only", json!({ "item": "rye" }))];
    let examples = examples.map(|(name, body)| (name, json_example(body)));
    let content = ContentBuilder::new().schema(Some(reference(schemas::FUNCTION_CALL))).examples_from_iter(examples);
    let invalid = "The arguments of `place_order` cannot be used: `count` is missing. Correct them and call it again.";
    let answers = [
        ("done", json!({ "order": "A-1042" })),
        ("invalid", json!({ "error": "invalid_arguments", "result": "invalid", "message": invalid })),
    ];
    let answers = ContentBuilder::new().examples_from_iter(answers.map(|(name, body)| (name, json_example(body))));
    let answered = ResponseBuilder::new()
        .description("The function's answer, what is wrong with the arguments, or the fallback.")
        .content(JSON, answers.build())
        .build();
    let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-zA-Z0-9_-]{1,64}$"));
    let name = ParameterBuilder::new()
        .name("name")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The function's name."))
        .schema(Some(name))
        .build();
    webhook_operation(id, "Call a custom function", description)
        .parameter(name)
        .request_body(Some(required_json_body(content.build())))
        .response("200", answered)
        .response("404", error_response("No such function.", &[ApiError::NotFound("No such function")]))
        .response("405", error_response("A method the function does not list.", &[ApiError::MethodNotAllowed]))
}

fn guide_operation(description: &str) -> Operation {
    let function = json!({ "name": "place_order", "args": { "item": "rye", "count": 2 } });
    let schema = utoipa::openapi::OneOfBuilder::new()
        .item(reference(schemas::CALL_EVENT))
        .item(reference(schemas::FUNCTION_CALL));
    let examples = event_examples(&LIFECYCLE).into_iter().chain([("function".to_owned(), json_example(function))]);
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build();
    webhook_operation("receive_event_or_function", "Receive an event or a function call", description)
        .request_body(Some(required_json_body(content)))
        .response("200", accepted_response(false))
        .response("404", error_response("A function call that names no configured function.", &[]))
        .build()
}

/// What all of them have in common.
fn webhook_operation(id: &str, summary: &str, description: &str) -> OperationBuilder {
    let cut_off = ["The body was cut off", "The body is empty", "The body is not JSON"].map(ApiError::BadRequest);
    let operation = OperationBuilder::new()
        .tag(TAG)
        .operation_id(Some(id))
        .summary(Some(summary))
        .description(Some(format!("{description}\n\n{TRY_IT_DESCRIPTION}")))
        .parameter(signature_parameter());
    operation
        .response("400", error_response("Cut off; or, with verification off, no JSON. Nothing was kept.", &cut_off))
        .response(
            "401",
            error_response(
                "Signature missing, malformed, stale or wrong: one answer for all.",
                &[ApiError::Unauthorized],
            ),
        )
        .response("403", error_response("Not from an address of `security.allowlist`.", &[ApiError::Forbidden]))
        .response("408", error_response("The body did not arrive within 5 s.", &[ApiError::BodyTimeout]))
        .response(
            "413",
            error_response("The body is larger than `server.body_limit_bytes`.", &[ApiError::BodyTooLarge]),
        )
        .response("500", error_response("An error in the server; see its log.", &[ApiError::Internal]))
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

/// Those that `retell-webhook send` sends.
fn event_examples(kinds: &[EventKind]) -> Vec<(String, RefOr<utoipa::openapi::example::Example>)> {
    let of = |kind: &EventKind| {
        let id = if kind.as_str().starts_with("chat_") { "chat_example" } else { "call_example" };
        let value = serde_json::from_str(&sample_body(*kind, id, EXAMPLE_MS)?).ok()?;
        Some((kind.as_str().to_owned(), json_example(value)))
    };
    kinds.iter().filter_map(of).collect()
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
            [("new", json!({ "received": true })), ("sent_again", json!({ "received": true, "duplicate": true }))],
        )
    };
    let examples = bodies.map(|(name, body)| (name, json_example(body)));
    let content = ContentBuilder::new().schema(Some(reference(schema))).examples_from_iter(examples);
    let means = if inbound { "Verified, and on disk unless that took too long." } else { "Verified, and on disk." };
    ResponseBuilder::new().description(means).content(JSON, content.build()).build()
}

fn unavailable_response() -> Response {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer);
    let retry = HeaderBuilder::new().schema(Some(seconds)).description(Some("Seconds to wait.")).build();
    let mut response = error_response("It could not be stored; sending it again is safe.", &[ApiError::Unavailable]);
    response.headers.insert("Retry-After".to_owned(), retry.into());
    response
}

/// The bodies as the program makes them.
fn error_response(description: &str, errors: &[ApiError]) -> Response {
    let bodies = errors
        .iter()
        .map(|error| error.status_and_message().1)
        .map(|message| (message, json_example(json!({ "message": message }))));
    let content = ContentBuilder::new().schema(Some(reference(schemas::ERROR))).examples_from_iter(bodies);
    ResponseBuilder::new().description(description).content(JSON, content.build()).build()
}
