//! What is in a body, in the main. Nothing is closed: any field may be missing, further ones and further values come.

use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, Components, ComponentsBuilder, Object, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

use crate::event::{CallStatus, CallType, DataStorageSetting, Direction, DisconnectionReason, EventKind, Sentiment};

/// Names under `components.schemas`.
pub(super) const EVENT: &str = "Event";
pub(super) const CALL_EVENT: &str = "CallEvent";
pub(super) const FUNCTION_CALL: &str = "FunctionCall";
pub(super) const EVENT_RESPONSE: &str = "Received";
pub(super) const INBOUND_ANSWER: &str = "InboundAnswer";
pub(super) const ERROR: &str = "Error";
pub(super) const WEBHOOK_TEST: &str = "Accessible";
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

fn typed_field(of: Type, description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(of).description(Some(description))
}

fn text_field(description: &str) -> ObjectBuilder {
    typed_field(Type::String, description)
}

fn integer_field(description: &str) -> ObjectBuilder {
    typed_field(Type::Integer, description)
}

/// A text with the values known today. It is no `enum`: that would refuse the next one.
fn open_enum_field(description: &str, known: &[&str]) -> ObjectBuilder {
    let description = format!("{description} Known values, others occur: `{}`.", known.join("`, `"));
    text_field(&description).examples(known.iter().take(1).copied())
}

fn list_field(description: &str) -> RefOr<Schema> {
    let items = ObjectBuilder::new().additional_properties(ANY_FIELDS);
    utoipa::openapi::ArrayBuilder::new().items(items).description(Some(description)).into()
}

/// Further fields of any kind.
const ANY_FIELDS: Option<AdditionalProperties<Schema>> = Some(AdditionalProperties::FreeForm(true));

fn object_field(description: &str) -> ObjectBuilder {
    typed_field(Type::Object, description).additional_properties(ANY_FIELDS)
}

fn event_names(kinds: impl Fn(EventKind) -> bool) -> Vec<&'static str> {
    EventKind::ALL.into_iter().filter(|kind| kinds(*kind)).map(EventKind::as_str).collect()
}

fn event_schema() -> Object {
    let description = "Any event. Unknown names, unknown fields and bodies that are no JSON are kept all the same.";
    object_field(description).property("event", open_enum_field("What happened.", &event_names(|_| true))).build()
}

fn call_event_schema() -> Object {
    object_field("An event of a call's life.")
        .property(
            "event",
            open_enum_field(
                "What happened.",
                &event_names(|kind| kind.as_str().starts_with("call_") && kind.is_lifecycle()),
            ),
        )
        .property("call", reference(CALL))
        .required("event")
        .required("call")
        .build()
}

fn call_schema() -> Object {
    let object =
        object_field("A call, as far as it is known when the event is sent. Any field may be missing on any event.")
            .property("call_id", text_field("Opaque id."))
            .property("call_type", open_enum_field("How it is carried.", CallType::KNOWN))
            .property("agent_id", text_field("The agent that took the call."))
            .property("agent_version", integer_field("Version of the agent."))
            .property("agent_name", text_field("Display name of the agent."))
            .property("agent_tag", text_field("Tag that pointed at the agent's version."))
            .property("call_status", open_enum_field("Where it stands.", CallStatus::KNOWN))
            .property("direction", open_enum_field("Phone calls only: who called whom.", Direction::KNOWN))
            .property("from_number", text_field("Phone calls only: the calling number, mostly E.164."))
            .property("to_number", text_field("Phone calls only: the called number."))
            .property("start_timestamp", integer_field("Start, ms since 1970."))
            .property("end_timestamp", integer_field("End of the agent's part, ms since 1970."))
            .property("duration_ms", integer_field("Length of the agent's part, ms."))
            .property("disconnection_reason", open_enum_field("Why it ended.", DisconnectionReason::KNOWN));
    add_call_details(object).build()
}

fn add_call_details(call: ObjectBuilder) -> ObjectBuilder {
    call.property("transcript", text_field("The conversation as lines of `Agent: …` and `User: …`."))
        .property("transcript_object", list_field("The utterances with the times of their words."))
        .property("transcript_with_tool_calls", list_field("Utterances, tools and their results in order."))
        .property("recording_url", text_field("Recording, both parties mixed."))
        .property("public_log_url", text_field("Log of the call, for debugging."))
        .property("metadata", object_field("Whatever the creator of the call attached."))
        .property("retell_llm_dynamic_variables", object_field("Variables given at creation."))
        .property("collected_dynamic_variables", object_field("Variables gathered during the call."))
        .property("data_storage_setting", open_enum_field("What Retell keeps of it.", DataStorageSetting::KNOWN))
        .property("opt_in_signed_url", typed_field(Type::Boolean, "Whether the URLs are signed and expire."))
        .property("latency", object_field("Latency by stage, ms."))
        .property("call_cost", object_field("Cost, cents."))
        .property("llm_token_usage", object_field("Tokens used by the model."))
        .property("call_analysis", reference(CALL_ANALYSIS))
}

fn call_analysis_schema() -> Object {
    object_field("What the analysis found; with `call_analyzed` only.")
        .property("call_summary", text_field("The call in a few sentences."))
        .property("in_voicemail", typed_field(Type::Boolean, "Whether the call ended in voicemail."))
        .property("user_sentiment", open_enum_field("Mood of the user.", Sentiment::KNOWN))
        .property("call_successful", typed_field(Type::Boolean, "Whether the agent reached its goal."))
        .property("custom_analysis_data", object_field("The fields the account defined."))
        .build()
}

fn function_call_schema() -> Object {
    object_field("A custom function's call, told from an event by `name` in place of `event`; or its arguments alone.")
        .property("name", text_field("Name of the function."))
        .property("args", object_field("Its arguments."))
        .property("call", object_field("The call so far; `chat` for a chat."))
        .build()
}

fn event_response_schema() -> Object {
    ObjectBuilder::new()
        .description(Some("The event is on disk."))
        .property("received", typed_field(Type::Boolean, "Always `true`."))
        .property("duplicate", typed_field(Type::Boolean, "`true` when it was on disk already, else missing."))
        .required("received")
        .build()
}

fn inbound_answer_schema() -> Object {
    ObjectBuilder::new()
        .description(Some("What Retell is to do with the call or chat; empty: go on as configured there."))
        .property("call_inbound", object_field("Answer to `call_inbound`."))
        .property("chat_inbound", object_field("Answer to `chat_inbound`."))
        .build()
}

fn error_schema() -> Object {
    ObjectBuilder::new().property("message", text_field("What went wrong.")).required("message").build()
}

fn webhook_test_schema() -> Object {
    ObjectBuilder::new()
        .property("status", text_field("Always `ok`."))
        .property("message", text_field("Says so in words."))
        .property("webhook_url", text_field("Method and address to enter at Retell."))
        .required("status")
        .required("message")
        .required("webhook_url")
        .build()
}

fn health_schema() -> Object {
    let parts = object_field("State of each part, `ok` or what is wrong. Shown on the machine itself only.")
        .examples([json!({ "storage": "ok", "keys": "ok" })]);
    ObjectBuilder::new()
        .property("status", text_field("`ok` or `unavailable`."))
        .property("parts", parts)
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
    fn every_member_of_the_samples_is_described_with_its_type() {
        let schemas = serde_json::to_value(components()).unwrap()["schemas"].take();
        for kind in [EventKind::CallStarted, EventKind::CallEnded, EventKind::CallAnalyzed] {
            let body = serde_json::from_str(&sample_body(kind, "call_1", 1_800_000_000_000).unwrap()).unwrap();
            assert_describes(&schemas, CALL_EVENT, &body);
        }
    }
}
