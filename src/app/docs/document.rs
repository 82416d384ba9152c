//! The OpenAPI 3.1 document. Paths, error bodies, known values and examples come from the code that answers requests.

use serde_json::json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem, PathsBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Content, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, ResponseBuilder, Server, Tag};

use super::schemas::{self, reference};
use super::{OPENAPI_PATH, webhooks};
use crate::live::{TEST_PATH, WEBHOOK_PATH};

const HEALTH_TAG: &str = "health";
const DOCS_TAG: &str = "docs";
const JSON: &str = "application/json";

/// The document as JSON. Serialization cannot fail, which a test checks by parsing the result.
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
        .path("/ping", get_path(liveness_operation("ping", "Check whether the process answers")))
        .path("/health/live", get_path(liveness_operation("health_live", "Check whether the process answers")))
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

/// The relative URL comes first, because "Try it out" uses it: the content policy allows only the origin of the page.
fn servers(public_url: &str) -> [Server; 2] {
    let server = |url: &str, description| ServerBuilder::new().url(url).description(Some(description)).build();
    [
        server("/", "The origin of this page"),
        server(public_url, "The public address that Retell sends to (`server.url`); \"Try it out\" cannot use it"),
    ]
}

fn tags() -> [Tag; 4] {
    let tag = |name, description| TagBuilder::new().name(name).description(Some(description)).build();
    [
        tag(webhooks::TAG, "Receive events and inbound requests from Retell"),
        tag(webhooks::FUNCTIONS_TAG, "Answer the function calls of an agent during a conversation"),
        tag(HEALTH_TAG, "Health checks for load balancers and monitoring"),
        tag(DOCS_TAG, "This API description in machine-readable form"),
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
    let instance_header = HeaderBuilder::new()
        .schema(Some(text))
        .description(Some("Random id of the running process, created at start."));
    let response = json_response("The webhook URL is reachable.", content(schemas::WEBHOOK_TEST, body));
    operation(webhooks::TAG, "test_webhook", "Check whether the webhook URL is reachable")
        .response("200", response.header("x-retell-webhook-instance", instance_header.build()))
}

fn company_webhook_test_operation(public_url: &str) -> OperationBuilder {
    webhook_test_operation(public_url)
        .operation_id(Some("test_company_webhook"))
        .summary(Some("Check whether the webhook URL of a company is reachable"))
        .parameter(webhooks::company_parameter())
        .response("404", ResponseBuilder::new().description("No company with this slug in `[[companies]]`.").build())
}

fn liveness_operation(id: &str, summary: &str) -> OperationBuilder {
    operation(HEALTH_TAG, id, summary)
        .response("200", json_response("The process answers.", content(schemas::HEALTH, json!({ "status": "ok" }))))
}

fn readiness_operation() -> OperationBuilder {
    let unavailable = content(schemas::HEALTH, json!({ "status": "unavailable" }));
    operation(HEALTH_TAG, "health_ready", "Check whether events can be received and stored")
        .response(
            "200",
            json_response("Events can be received and stored.", content(schemas::HEALTH, json!({ "status": "ok" }))),
        )
        .response(
            "503",
            json_response("The store is unavailable, or `server.url` is public and no API key is set.", unavailable),
        )
}

fn openapi_operation() -> OperationBuilder {
    let object = ContentBuilder::new().schema(Some(ObjectBuilder::new())).build();
    operation(DOCS_TAG, "openapi", "Get this API description")
        .response("200", json_response("The OpenAPI 3.1 document.", object))
}
