//! The answer to an inbound request. It is checked against Retell's contract before it is sent: one invalid field
//! makes Retell ignore the whole answer, even a `reject`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::overrides;
use crate::config::InboundKind;

/// Retell accepts at most 50 kB of metadata per call.
const MAX_METADATA_BYTES: usize = 50_000;
/// Larger answers are rejected. It leaves ample room for metadata and variables, and bounds what a service may send.
pub(super) const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// What Retell should do with an inbound call or text message. The default changes nothing: Retell continues as
/// configured for the number.
#[derive(Clone, Default, PartialEq)]
pub struct InboundAnswer {
    reject: Option<bool>,
    agent_id: Option<String>,
    agent_version: Option<i64>,
    dynamic_variables: BTreeMap<String, String>,
    metadata: Option<Value>,
    agent_override: Option<Value>,
}

/// A field that violates Retell's contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidField {
    field: String,
    reason: &'static str,
}

impl InvalidField {
    fn new(field: &str, reason: &'static str) -> Self {
        Self { field: field.to_owned(), reason }
    }
}

impl InboundAnswer {
    /// The empty answer: Retell continues as configured for the number.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Rejects the caller: the call or chat does not take place.
    #[must_use]
    pub fn reject() -> Self {
        Self { reject: Some(true), ..Self::default() }
    }

    /// Overrides the agent of the number (`override_agent_id`).
    #[must_use]
    pub fn agent(mut self, agent_id: impl Into<String>) -> Self {
        self.agent_id = Some(agent_id.into());
        self
    }

    /// Selects a version of the agent, 0 or more (`override_agent_version`).
    #[must_use]
    pub fn agent_version(mut self, version: i64) -> Self {
        self.agent_version = Some(version);
        self
    }

    /// Sets a dynamic variable of the agent. A second value for the same name replaces the first.
    #[must_use]
    pub fn dynamic_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.dynamic_variables.insert(name.into(), value.into());
        self
    }

    /// Stores a JSON object of at most 50 kB with the call. Retell sends it back in the call's webhooks.
    #[must_use]
    pub fn metadata(mut self, metadata: Value) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Overrides settings for this call only: an object with the keys `agent`, `retell_llm` and `conversation_flow`,
    /// each an object.
    #[must_use]
    pub fn agent_override(mut self, changes: Value) -> Self {
        self.agent_override = Some(changes);
        self
    }

    /// Whether this answer rejects the caller.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.reject == Some(true)
    }

    /// Reads the answer of a service: `{"call_inbound": {…}}`, `{"chat_inbound": {…}}` for a text message, or `{}`.
    /// Numbers and booleans among the dynamic variables become strings; nulls and unknown fields are dropped.
    ///
    /// # Errors
    /// The first field that violates the contract.
    pub fn from_json(body: &Value, kind: InboundKind) -> Result<Self, InvalidField> {
        let body = body.as_object().ok_or_else(|| InvalidField::new("the answer", "expected a JSON object"))?;
        let Some(fields) = body.get(payload_key(kind)) else {
            if body.is_empty() {
                return Ok(Self::empty());
            }
            return Err(InvalidField::new(payload_key(kind), "the answer has other keys, but not this one"));
        };
        let fields = fields.as_object().ok_or_else(|| InvalidField::new(payload_key(kind), "expected an object"))?;
        let field = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let answer = Self {
            reject: read_field(field("reject"), "reject", Value::as_bool, "expected true or false")?,
            agent_id: read_field(field("override_agent_id"), "override_agent_id", text, "expected a string")?,
            agent_version: read_field(
                field("override_agent_version"),
                "override_agent_version",
                Value::as_i64,
                "expected an integer",
            )?,
            dynamic_variables: parse_dynamic_variables(field("dynamic_variables"))?,
            metadata: field("metadata").cloned(),
            agent_override: field("agent_override").cloned(),
        };
        answer.check()?;
        Ok(answer)
    }

    /// Checks the answer against Retell's contract.
    ///
    /// # Errors
    /// The first field that violates it.
    pub fn check(&self) -> Result<(), InvalidField> {
        let invalid = |field: &str, reason| Err(InvalidField::new(field, reason));
        if self.agent_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
            return invalid("override_agent_id", "expected an agent id, found an empty string");
        }
        if self.agent_version.is_some_and(|version| version < 0) {
            return invalid("override_agent_version", "expected 0 or more");
        }
        if self.dynamic_variables.keys().any(String::is_empty) {
            return invalid("dynamic_variables", "a variable has an empty name");
        }
        if let Some(metadata) = &self.metadata {
            if !metadata.is_object() {
                return invalid("metadata", "expected an object");
            }
            if metadata.to_string().len() > MAX_METADATA_BYTES {
                return invalid("metadata", "larger than 50 kB");
            }
        }
        if let Some(changes) = &self.agent_override {
            let Some(changes) = changes.as_object() else {
                return invalid("agent_override", "expected an object");
            };
            if let Some((path, reason)) = overrides::find_invalid_field(changes) {
                let field = path.iter().fold("agent_override".to_owned(), |field, name| field_path(&field, name));
                return invalid(&field, reason);
            }
        }
        if self.to_json(InboundKind::Call).len() > MAX_ANSWER_BYTES {
            return invalid("the answer", "larger than 256 KiB");
        }
        Ok(())
    }

    /// Serializes the answer as the body of the HTTP response to Retell.
    #[must_use]
    pub fn to_json(&self, kind: InboundKind) -> String {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        put("reject", self.reject.map(Value::from));
        put("override_agent_id", self.agent_id.clone().map(Value::from));
        put("override_agent_version", self.agent_version.map(Value::from));
        if !self.dynamic_variables.is_empty() {
            let variables =
                self.dynamic_variables.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str())));
            put("dynamic_variables", Some(Value::Object(variables.collect())));
        }
        put("metadata", self.metadata.clone());
        put("agent_override", self.agent_override.clone());
        let mut body = Map::new();
        body.insert(payload_key(kind).to_owned(), Value::Object(fields));
        Value::Object(body).to_string()
    }
}

/// The key under which both the request and the answer have their fields.
pub(super) fn payload_key(kind: InboundKind) -> &'static str {
    match kind {
        InboundKind::Call => "call_inbound",
        InboundKind::Chat => "chat_inbound",
    }
}

fn read_field<T>(
    value: Option<&Value>,
    field: &'static str,
    read: impl Fn(&Value) -> Option<T>,
    expected: &'static str,
) -> Result<Option<T>, InvalidField> {
    let Some(value) = value else { return Ok(None) };
    match read(value) {
        Some(value) => Ok(Some(value)),
        None => Err(InvalidField::new(field, expected)),
    }
}

fn parse_dynamic_variables(value: Option<&Value>) -> Result<BTreeMap<String, String>, InvalidField> {
    const FIELD: &str = "dynamic_variables";
    let Some(value) = value else { return Ok(BTreeMap::new()) };
    let fields = value.as_object().ok_or_else(|| InvalidField::new(FIELD, "expected an object"))?;
    let mut variables = BTreeMap::new();
    for (name, value) in fields {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(InvalidField::new(&field_path(FIELD, name), "expected a string, number or boolean"));
            }
        };
        variables.insert(name.clone(), text);
    }
    Ok(variables)
}

/// Joins a path such as `dynamic_variables.name`. An unusual name is left out, since it may be data about the caller,
/// and the path is logged.
fn field_path(field: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-');
    let is_identifier = (1..=40).contains(&name.len()) && name.chars().all(plain);
    if is_identifier { format!("{field}.{name}") } else { field.to_owned() }
}

impl fmt::Debug for InboundAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables and metadata may contain personal data of the caller.
        f.debug_struct("InboundAnswer")
            .field("reject", &self.reject)
            .field("agent", &self.agent_id)
            .field("agent_version", &self.agent_version)
            .field("variables", &self.dynamic_variables.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn round_trip(fields: &Value) -> Result<String, String> {
        let body = json!({ "call_inbound": fields });
        let answer = InboundAnswer::from_json(&body, InboundKind::Call).map_err(|error| error.to_string())?;
        Ok(answer.to_json(InboundKind::Call))
    }

    #[test]
    fn valid_answers_are_passed_on() {
        let whole = json!({ "reject": false, "override_agent_id": "agent_1", "override_agent_version": 3,
            "dynamic_variables": {"name": "Ana"}, "metadata": {"a": [1, null]},
            "agent_override": {"agent": {"webhook_timeout_ms": 5000, "voice_speed": 1, "voice_emotion": null, "new": [1]},
                "retell_llm": {"knowledge_base_ids": ["kb_1"], "begin_message": ""},
                "conversation_flow": {"model_temperature": 0.5, "begin_after_user_silence_ms": 5.0}} });
        assert_eq!(serde_json::from_str::<Value>(&round_trip(&whole).unwrap()).unwrap()["call_inbound"], whole);
        let lenient =
            json!({ "reject": null, "dynamic_variables": {"n": 7, "b": true, "gone": null}, "colour": "blue" });
        assert_eq!(round_trip(&lenient).unwrap(), r#"{"call_inbound":{"dynamic_variables":{"b":"true","n":"7"}}}"#);
        assert_eq!(InboundAnswer::from_json(&json!({}), InboundKind::Chat), Ok(InboundAnswer::empty()));
        assert_eq!(InboundAnswer::reject().to_json(InboundKind::Chat), r#"{"chat_inbound":{"reject":true}}"#);
        assert_eq!(InboundAnswer::empty().to_json(InboundKind::Call), r#"{"call_inbound":{}}"#);
    }

    #[test]
    fn invalid_fields_are_named_without_their_values() {
        for (fields, expected) in [
            (json!({ "reject": "true" }), "reject: "),
            (json!({ "reject": 1 }), "reject: "),
            (json!({ "override_agent_id": 7 }), "override_agent_id: "),
            (json!({ "override_agent_id": " " }), "override_agent_id: "),
            (json!({ "override_agent_version": "3" }), "override_agent_version: "),
            (json!({ "override_agent_version": 3.5 }), "override_agent_version: "),
            (json!({ "override_agent_version": -1 }), "override_agent_version: "),
            (json!({ "dynamic_variables": ["x"] }), "dynamic_variables: "),
            (json!({ "dynamic_variables": {"name": {"first": "Jane"}} }), "dynamic_variables.name: "),
            (json!({ "dynamic_variables": {"Jane +12025550143": []} }), "dynamic_variables: "),
            (json!({ "dynamic_variables": {"": "x"} }), "dynamic_variables: "),
            (json!({ "metadata": "Jane" }), "metadata: "),
            (json!({ "metadata": {"text": "x".repeat(60_000)} }), "metadata: "),
            (json!({ "agent_override": "agent_1" }), "agent_override: "),
            (json!({ "agent_override": {"voice": {}} }), "agent_override.voice: "),
            (json!({ "agent_override": {"agent": "x"} }), "agent_override.agent: "),
            (
                json!({ "agent_override": {"agent": {"voice_id": 7}} }),
                "agent_override.agent.voice_id: expected a string",
            ),
            (json!({ "agent_override": {"agent": {"voice_speed": "1"}} }), "agent_override.agent.voice_speed: "),
            (
                json!({ "agent_override": {"agent": {"ring_duration_ms": 1.5}} }),
                "agent_override.agent.ring_duration_ms: ",
            ),
            (json!({ "agent_override": {"agent": {"boosted_keywords": ["a", 1]}} }), "agent_override.agent.boosted_"),
            (json!({ "agent_override": {"agent": {"pii_config": []}} }), "agent_override.agent.pii_config: "),
            (
                json!({ "agent_override": {"retell_llm": {"model_high_priority": 1}} }),
                "agent_override.retell_llm.model_",
            ),
            (
                json!({ "agent_override": {"conversation_flow": {"model_choice": "x"}} }),
                "agent_override.conversation_flow.mo",
            ),
            (json!({ "dynamic_variables": {"x": "y".repeat(300_000)} }), "the answer: "),
            (json!("reject"), "call_inbound: "),
        ] {
            let error = round_trip(&fields).unwrap_err();
            assert!(error.starts_with(expected) && !error.contains("Jane"), "{expected}: {error}");
        }
        for body in [json!([]), json!("x"), json!({"reject": true}), json!({"chat_inbound": {}})] {
            assert!(InboundAnswer::from_json(&body, InboundKind::Call).is_err(), "{body}");
        }
    }
}
