//! What is in a body, in the main. Nothing is closed: any field may be missing, further ones and further values come.

use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, Components, ComponentsBuilder, Object, ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

use crate::event::{CallStatus, CallType, DataStorageSetting, Direction, DisconnectionReason, EventKind, Sentiment};

/// Names under `components.schemas`.
pub(super) const EVENT: &str = "Event";
pub(super) const CALL_EVENT: &str = "CallEvent";
pub(super) const FUNCTION_CALL: &str = "FunctionCall";
pub(super) const RECEIVED: &str = "Received";
pub(super) const INBOUND_ANSWER: &str = "InboundAnswer";
pub(super) const ERROR: &str = "Error";
pub(super) const TEST: &str = "Accessible";
pub(super) const HEALTH: &str = "Health";
const CALL: &str = "Call";
const CALL_ANALYSIS: &str = "CallAnalysis";

pub(super) fn components() -> Components {
    ComponentsBuilder::new()
        .schema(EVENT, event())
        .schema(CALL_EVENT, call_event())
        .schema(CALL, call())
        .schema(CALL_ANALYSIS, call_analysis())
        .schema(FUNCTION_CALL, function_call())
        .schema(RECEIVED, received())
        .schema(INBOUND_ANSWER, inbound_answer())
        .schema(ERROR, error())
        .schema(TEST, accessible())
        .schema(HEALTH, health())
        .build()
}

pub(super) fn reference(name: &str) -> Ref {
    Ref::from_schema_name(name)
}

fn field(of: Type, description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(of).description(Some(description))
}

fn text(description: &str) -> ObjectBuilder {
    field(Type::String, description)
}

fn integer(description: &str) -> ObjectBuilder {
    field(Type::Integer, description)
}

/// A text with the values known today. It is no `enum`: that would refuse the next one.
fn one_of(description: &str, known: &[&str]) -> ObjectBuilder {
    let description = format!("{description} Known values, others occur: `{}`.", known.join("`, `"));
    text(&description).examples(known.iter().take(1).copied())
}

fn list(description: &str) -> RefOr<Schema> {
    let items = ObjectBuilder::new().additional_properties(OPEN);
    utoipa::openapi::ArrayBuilder::new().items(items).description(Some(description)).into()
}

/// Further fields of any kind.
const OPEN: Option<AdditionalProperties<Schema>> = Some(AdditionalProperties::FreeForm(true));

fn map(description: &str) -> ObjectBuilder {
    field(Type::Object, description).additional_properties(OPEN)
}

fn names(kinds: impl Fn(EventKind) -> bool) -> Vec<&'static str> {
    EventKind::ALL.into_iter().filter(|kind| kinds(*kind)).map(EventKind::as_str).collect()
}

fn event() -> Object {
    let description = "Any event. Unknown names, unknown fields and bodies that are no JSON are kept all the same.";
    map(description).property("event", one_of("What happened.", &names(|_| true))).build()
}

fn call_event() -> Object {
    map("An event of a call's life.")
        .property(
            "event",
            one_of("What happened.", &names(|kind| kind.as_str().starts_with("call_") && kind.is_lifecycle())),
        )
        .property("call", reference(CALL))
        .required("event")
        .required("call")
        .build()
}

fn call() -> Object {
    let object = map("A call, as far as it is known when the event is sent. Any field may be missing on any event.")
        .property("call_id", text("Opaque id."))
        .property("call_type", one_of("How it is carried.", CallType::KNOWN))
        .property("agent_id", text("The agent that took the call."))
        .property("agent_version", integer("Version of the agent."))
        .property("agent_name", text("Display name of the agent."))
        .property("agent_tag", text("Tag that pointed at the agent's version."))
        .property("call_status", one_of("Where it stands.", CallStatus::KNOWN))
        .property("direction", one_of("Phone calls only: who called whom.", Direction::KNOWN))
        .property("from_number", text("Phone calls only: the calling number, mostly E.164."))
        .property("to_number", text("Phone calls only: the called number."))
        .property("start_timestamp", integer("Start, ms since 1970."))
        .property("end_timestamp", integer("End of the agent's part, ms since 1970."))
        .property("duration_ms", integer("Length of the agent's part, ms."))
        .property("disconnection_reason", one_of("Why it ended.", DisconnectionReason::KNOWN));
    details(object).build()
}

fn details(call: ObjectBuilder) -> ObjectBuilder {
    call.property("transcript", text("The conversation as lines of `Agent: …` and `User: …`."))
        .property("transcript_object", list("The utterances with the times of their words."))
        .property("transcript_with_tool_calls", list("Utterances, tools and their results in order."))
        .property("recording_url", text("Recording, both parties mixed."))
        .property("public_log_url", text("Log of the call, for debugging."))
        .property("metadata", map("Whatever the creator of the call attached."))
        .property("retell_llm_dynamic_variables", map("Variables given at creation."))
        .property("collected_dynamic_variables", map("Variables gathered during the call."))
        .property("data_storage_setting", one_of("What Retell keeps of it.", DataStorageSetting::KNOWN))
        .property("opt_in_signed_url", field(Type::Boolean, "Whether the URLs are signed and expire."))
        .property("latency", map("Latency by stage, ms."))
        .property("call_cost", map("Cost, cents."))
        .property("llm_token_usage", map("Tokens used by the model."))
        .property("call_analysis", reference(CALL_ANALYSIS))
}

fn call_analysis() -> Object {
    map("What the analysis found; with `call_analyzed` only.")
        .property("call_summary", text("The call in a few sentences."))
        .property("in_voicemail", field(Type::Boolean, "Whether the call ended in voicemail."))
        .property("user_sentiment", one_of("Mood of the user.", Sentiment::KNOWN))
        .property("call_successful", field(Type::Boolean, "Whether the agent reached its goal."))
        .property("custom_analysis_data", map("The fields the account defined."))
        .build()
}

fn function_call() -> Object {
    map("A custom function's call, told from an event by `name` in place of `event`; or its arguments alone.")
        .property("name", text("Name of the function."))
        .property("args", map("Its arguments."))
        .property("call", map("The call so far; `chat` for a chat."))
        .build()
}

fn received() -> Object {
    ObjectBuilder::new()
        .description(Some("The event is on disk."))
        .property("received", field(Type::Boolean, "Always `true`."))
        .property("duplicate", field(Type::Boolean, "`true` when it was on disk already, else missing."))
        .required("received")
        .build()
}

fn inbound_answer() -> Object {
    ObjectBuilder::new()
        .description(Some("What Retell is to do with the call or chat; empty: go on as configured there."))
        .property("call_inbound", map("Answer to `call_inbound`."))
        .property("chat_inbound", map("Answer to `chat_inbound`."))
        .build()
}

fn error() -> Object {
    ObjectBuilder::new().property("message", text("What went wrong.")).required("message").build()
}

fn accessible() -> Object {
    ObjectBuilder::new()
        .property("status", text("Always `ok`."))
        .property("message", text("Says so in words."))
        .property("webhook_url", text("Method and address to enter at Retell."))
        .required("status")
        .required("message")
        .required("webhook_url")
        .build()
}

fn health() -> Object {
    let parts = map("State of each part, `ok` or what is wrong. Shown on the machine itself only.")
        .examples([json!({ "storage": "ok", "keys": "ok" })]);
    ObjectBuilder::new()
        .property("status", text("`ok` or `unavailable`."))
        .property("parts", parts)
        .required("status")
        .build()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::event::sample;

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
            let body = serde_json::from_str(&sample(kind, "call_1", 1_800_000_000_000).unwrap()).unwrap();
            assert_describes(&schemas, CALL_EVENT, &body);
        }
    }
}
