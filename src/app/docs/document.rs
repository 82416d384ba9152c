//! The description as OpenAPI 3.1. Paths, error bodies, known values and examples are taken from the code that answers.

use serde_json::json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem, PathsBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Content, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, ResponseBuilder, Server, Tag};

use super::schemas::{self, reference};
use super::{OPENAPI_PATH, webhooks};
use crate::intake::{TEST_PATH, WEBHOOK_PATH};

const HEALTH_TAG: &str = "health";
const DOCS_TAG: &str = "docs";
const JSON: &str = "application/json";

/// The document as JSON; empty only if it could not be written, which a test excludes.
pub(super) fn openapi_json(public_url: &str) -> String {
    build_document(public_url).to_json().unwrap_or_default()
}

fn build_document(public_url: &str) -> OpenApi {
    let info = InfoBuilder::new()
        .title(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(env!("CARGO_PKG_DESCRIPTION")));
    let paths = webhooks::paths(PathsBuilder::new())
        .path(TEST_PATH, get_path(webhook_test_operation(public_url)))
        .path("/api/v1/webhook/retell/{company}/test", get_path(company_webhook_test_operation(public_url)))
        .path("/ping", get_path(liveness_operation("ping", "Whether the process answers")))
        .path("/health/live", get_path(liveness_operation("health_live", "Whether the process answers")))
        .path("/health/ready", get_path(readiness_operation()))
        .path(OPENAPI_PATH, get_path(openapi_operation()));
    OpenApiBuilder::new()
        .info(info)
        .servers(Some(servers(public_url)))
        .tags(Some(tags()))
        .paths(paths)
        .webhooks(Some(webhooks::event_webhooks()))
        .components(Some(schemas::components()))
        .build()
}

/// Relative first: «try it out» goes to where the page came from, which the content policy allows alone.
fn servers(public_url: &str) -> [Server; 2] {
    let server = |url: &str, description| ServerBuilder::new().url(url).description(Some(description)).build();
    [
        server("/", "Where this page came from"),
        server(public_url, "The address Retell sends to (`server.url`); not for trying out"),
    ]
}

fn tags() -> [Tag; 3] {
    let tag = |name, description| TagBuilder::new().name(name).description(Some(description)).build();
    [
        tag(webhooks::TAG, "Where Retell sends events to"),
        tag(HEALTH_TAG, "For load balancers and people"),
        tag(DOCS_TAG, "What you are reading, for programs"),
    ]
}

fn get_path(operation: OperationBuilder) -> PathItem {
    let operation: Operation = operation.build();
    PathItem::new(HttpMethod::Get, operation)
}

fn operation(tag: &str, id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().tag(tag).operation_id(Some(id)).summary(Some(summary))
}

fn json_response(description: &str, content: Content) -> ResponseBuilder {
    ResponseBuilder::new().description(description).content(JSON, content)
}

fn content(schema: &str, example: serde_json::Value) -> Content {
    ContentBuilder::new().schema(Some(reference(schema))).example(Some(example)).build()
}

fn webhook_test_operation(public_url: &str) -> OperationBuilder {
    let body = json!({
        "status": "ok",
        "message": "Retell webhook endpoint is accessible",
        "webhook_url": format!("POST {public_url}{WEBHOOK_PATH}"),
    });
    let text = ObjectBuilder::new().schema_type(Type::String);
    let instance = HeaderBuilder::new().schema(Some(text)).description(Some("Random, made when the program started."));
    let answer = json_response("The address is reachable.", content(schemas::WEBHOOK_TEST, body));
    operation(webhooks::TAG, "test_webhook", "See whether the address is reachable")
        .response("200", answer.header("x-retell-webhook-instance", instance.build()))
}

fn company_webhook_test_operation(public_url: &str) -> OperationBuilder {
    webhook_test_operation(public_url)
        .operation_id(Some("test_company_webhook"))
        .summary(Some("See whether a company's address is reachable"))
        .parameter(webhooks::company_parameter())
        .response("404", ResponseBuilder::new().description("No such company in `[[companies]]`.").build())
}

fn liveness_operation(id: &str, summary: &str) -> OperationBuilder {
    operation(HEALTH_TAG, id, summary)
        .response("200", json_response("It does.", content(schemas::HEALTH, json!({ "status": "ok" }))))
}

fn readiness_operation() -> OperationBuilder {
    let unavailable = content(schemas::HEALTH, json!({ "status": "unavailable" }));
    operation(HEALTH_TAG, "health_ready", "Whether events can be taken in")
        .response("200", json_response("They can.", content(schemas::HEALTH, json!({ "status": "ok" }))))
        .response("503", json_response("Storage is away, or no API key is set on a public address.", unavailable))
}

fn openapi_operation() -> OperationBuilder {
    let object = ContentBuilder::new().schema(Some(ObjectBuilder::new())).build();
    operation(DOCS_TAG, "openapi", "This description").response("200", json_response("OpenAPI 3.1.", object))
}
