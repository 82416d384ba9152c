//! Schemas of the request and response bodies. They are open: any field may be missing, and Retell adds fields and
//! values at any time.

use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, Components, ComponentsBuilder, Object, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

use crate::event::{CallStatus, CallType, DataStorageSetting, Direction, DisconnectionReason, EventKind, Sentiment};

// The names of the schemas under `components.schemas`, which `reference` links to.
pub(super) const EVENT: &str = "Event";
pub(super) const CALL_EVENT: &str = "CallEvent";
pub(super) const FUNCTION_CALL: &str = "FunctionCall";
pub(super) const EVENT_RESPONSE: &str = "EventResponse";
pub(super) const INBOUND_ANSWER: &str = "InboundAnswer";
pub(super) const ERROR: &str = "Error";
pub(super) const WEBHOOK_TEST: &str = "WebhookTest";
pub(super) const HEALTH: &str = "Health";
const CALL: &str = "Call";
const CALL_ANALYSIS: &str = "CallAnalysis";

pub(super) fn components() -> Components {
    ComponentsBuilder::new()
        .schema(EVENT, event_schema())
        .schema(CALL_EVENT, call_event_schema())
        .schema(CALL, call_schema())
        .schema(CALL_ANALYSIS, call_analysis_schema())
        .schema(FUNCTION_CALL, function_call_schema())
        .schema(EVENT_RESPONSE, event_response_schema())
        .schema(INBOUND_ANSWER, inbound_answer_schema())
        .schema(ERROR, error_schema())
        .schema(WEBHOOK_TEST, webhook_test_schema())
        .schema(HEALTH, health_schema())
        .build()
}

pub(super) fn reference(name: &str) -> Ref {
    Ref::from_schema_name(name)
}

fn typed_field(field_type: Type, description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(field_type).description(Some(description))
}

fn text_field(description: &str) -> ObjectBuilder {
    typed_field(Type::String, description)
}

fn integer_field(description: &str) -> ObjectBuilder {
    typed_field(Type::Integer, description)
}

/// A string with its known values in the description. It is not an `enum`, because clients would reject new values.
fn open_enum_field(description: &str, known: &[&str]) -> ObjectBuilder {
    let description = format!("{description} Known values (others are possible): `{}`.", known.join("`, `"));
    text_field(&description).examples(known.iter().take(1).copied())
}

fn list_field(description: &str) -> RefOr<Schema> {
    let items = ObjectBuilder::new().additional_properties(ANY_FIELDS);
    utoipa::openapi::ArrayBuilder::new().items(items).description(Some(description)).into()
}

/// Allows additional fields of any type.
const ANY_FIELDS: Option<AdditionalProperties<Schema>> = Some(AdditionalProperties::FreeForm(true));

fn object_field(description: &str) -> ObjectBuilder {
    typed_field(Type::Object, description).additional_properties(ANY_FIELDS)
}

fn event_names(kinds: impl Fn(EventKind) -> bool) -> Vec<&'static str> {
    EventKind::ALL.into_iter().filter(|kind| kinds(*kind)).map(EventKind::as_str).collect()
}

fn event_schema() -> Object {
    let description = "Any event. Unknown event names, unknown fields and bodies that are not JSON are stored too.";
    object_field(description).property("event", open_enum_field("The event name.", &event_names(|_| true))).build()
}

fn call_event_schema() -> Object {
    object_field("An event in the life cycle of a call.")
        .property(
            "event",
            open_enum_field(
                "The event name.",
                &event_names(|kind| kind.as_str().starts_with("call_") && kind.is_lifecycle()),
            ),
        )
        .property("call", reference(CALL))
        .required("event")
        .required("call")
        .build()
}

fn call_schema() -> Object {
    let object = object_field("A call as known when the event is sent. Any field may be missing on any event.")
        .property("call_id", text_field("Id of the call (opaque)."))
        .property("call_type", open_enum_field("The channel of the call.", CallType::KNOWN))
        .property("agent_id", text_field("Id of the agent."))
        .property("agent_version", integer_field("Version number of the agent."))
        .property("agent_name", text_field("Display name of the agent."))
        .property("agent_tag", text_field("Tag that selected the version of the agent."))
        .property("call_status", open_enum_field("Status of the call.", CallStatus::KNOWN))
        .property("direction", open_enum_field("Phone calls only: direction of the call.", Direction::KNOWN))
        .property("from_number", text_field("Phone calls only: the calling number, usually in E.164 format."))
        .property("to_number", text_field("Phone calls only: the called number."))
        .property("start_timestamp", integer_field("Start of the call, in milliseconds since the Unix epoch."))
        .property(
            "end_timestamp",
            integer_field("End of the conversation with the agent, in milliseconds since the Unix epoch."),
        )
        .property("duration_ms", integer_field("Duration of the conversation with the agent, in milliseconds."))
        .property("disconnection_reason", open_enum_field("Why the call ended.", DisconnectionReason::KNOWN));
    add_call_details(object).build()
}

fn add_call_details(call: ObjectBuilder) -> ObjectBuilder {
    call.property("transcript", text_field("Transcript with lines `Agent: …` and `User: …`."))
        .property("transcript_object", list_field("Transcript as a list of utterances with word timestamps."))
        .property(
            "transcript_with_tool_calls",
            list_field("Transcript as a list of utterances, tool calls and tool results."),
        )
        .property("recording_url", text_field("URL of the mixed recording of both parties."))
        .property("public_log_url", text_field("URL of the debug log of the call."))
        .property("metadata", object_field("Custom data that was attached when the call was created."))
        .property("retell_llm_dynamic_variables", object_field("Dynamic variables set when the call was created."))
        .property("collected_dynamic_variables", object_field("Dynamic variables collected during the call."))
        .property(
            "data_storage_setting",
            open_enum_field("What Retell stores about the call.", DataStorageSetting::KNOWN),
        )
        .property("opt_in_signed_url", typed_field(Type::Boolean, "Whether the URLs are signed and expire."))
        .property("latency", object_field("Latency per stage, in milliseconds."))
        .property("call_cost", object_field("Cost of the call, in US cents."))
        .property("llm_token_usage", object_field("Tokens used by the language model."))
        .property("call_analysis", reference(CALL_ANALYSIS))
}

fn call_analysis_schema() -> Object {
    object_field("Result of the post-call analysis; only on `call_analyzed`.")
        .property("call_summary", text_field("Summary of the call."))
        .property("in_voicemail", typed_field(Type::Boolean, "Whether the call ended in voicemail."))
        .property("user_sentiment", open_enum_field("Sentiment of the user.", Sentiment::KNOWN))
        .property("call_successful", typed_field(Type::Boolean, "Whether the call achieved its goal."))
        .property("custom_analysis_data", object_field("The analysis fields that the account defined."))
        .build()
}

fn function_call_schema() -> Object {
    object_field(
        "A custom function call. It has `name` where an event has `event`. Retell can also send the arguments alone.",
    )
    .property("name", text_field("Name of the function."))
    .property("args", object_field("Arguments of the function."))
    .property("call", object_field("The call so far; a chat has `chat` instead."))
    .build()
}

fn event_response_schema() -> Object {
    ObjectBuilder::new()
        .description(Some("The event is stored durably."))
        .property("received", typed_field(Type::Boolean, "Always `true`."))
        .property(
            "duplicate",
            typed_field(Type::Boolean, "`true` when the event was already stored; otherwise absent."),
        )
        .required("received")
        .build()
}

fn inbound_answer_schema() -> Object {
    ObjectBuilder::new()
        .description(Some("Instructions for Retell about the call or chat; an empty object changes nothing."))
        .property("call_inbound", object_field("Answer to `call_inbound`."))
        .property("chat_inbound", object_field("Answer to `chat_inbound`."))
        .build()
}

fn error_schema() -> Object {
    ObjectBuilder::new()
        .property("message", text_field("What went wrong, without the cause."))
        .required("message")
        .build()
}

fn webhook_test_schema() -> Object {
    ObjectBuilder::new()
        .property("status", text_field("Always `ok`."))
        .property("message", text_field("The status as a sentence."))
        .property("webhook_url", text_field("The method and the webhook URL to enter in Retell's dashboard."))
        .required("status")
        .required("message")
        .required("webhook_url")
        .build()
}

fn health_schema() -> Object {
    let checks = object_field("Result of each check: `ok` or what is wrong. Only operators receive it.")
        .examples([json!({ "storage": "ok", "keys": "ok" })]);
    ObjectBuilder::new()
        .property("status", text_field("`ok` or `unavailable`."))
        .property("checks", checks)
        .required("status")
        .build()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::event::sample_body;

    fn type_of(value: &Value) -> &'static str {
        match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }

    fn assert_describes(schemas: &Value, name: &str, body: &Value) {
        for (key, value) in body.as_object().unwrap() {
            let described = &schemas[name]["properties"][key];
            match described["$ref"].as_str() {
                Some(target) => assert_describes(schemas, target.rsplit('/').next().unwrap(), value),
                None => assert_eq!(described["type"], type_of(value), "{name}.{key}"),
            }
        }
    }

    #[test]
    fn every_field_of_the_samples_is_described_with_its_type() {
        let schemas = serde_json::to_value(components()).unwrap()["schemas"].take();
        for kind in [EventKind::CallStarted, EventKind::CallEnded, EventKind::CallAnalyzed] {
            let body = serde_json::from_str(&sample_body(kind, "call_1", 1_800_000_000_000).unwrap()).unwrap();
            assert_describes(&schemas, CALL_EVENT, &body);
        }
    }
}
