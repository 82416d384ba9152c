//! An answer to an inbound request, checked against Retell's contract before it leaves: one invalid field makes Retell
//! drop all of it, the wish to turn a caller away included.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::overrides;
use crate::config::InboundKind;

/// Retell takes 50 kB of metadata with a call.
const MAX_METADATA_BYTES: usize = 50_000;
/// An answer that is larger is a mistake.
pub(super) const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// What Retell is to do with an inbound call or text message. The default: go on as configured there.
#[derive(Clone, Default, PartialEq)]
pub struct InboundAnswer {
    reject: Option<bool>,
    agent_id: Option<String>,
    agent_version: Option<i64>,
    dynamic_variables: BTreeMap<String, String>,
    metadata: Option<Value>,
    agent_override: Option<Value>,
}

/// A field that breaks the contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidField {
    field: String,
    reason: &'static str,
}

impl InvalidField {
    fn new(field: &str, why: &'static str) -> Self {
        Self { field: field.to_owned(), reason: why }
    }
}

impl InboundAnswer {
    /// Go on as configured in Retell.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Turn the caller away: there will be no call.
    #[must_use]
    pub fn reject() -> Self {
        Self { reject: Some(true), ..Self::default() }
    }

    /// Take this agent instead of the number's own.
    #[must_use]
    pub fn agent(mut self, agent_id: impl Into<String>) -> Self {
        self.agent_id = Some(agent_id.into());
        self
    }

    /// Take this version of the agent.
    #[must_use]
    pub fn agent_version(mut self, version: i64) -> Self {
        self.agent_version = Some(version);
        self
    }

    /// Give the agent a dynamic variable.
    #[must_use]
    pub fn dynamic_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.dynamic_variables.insert(name.into(), value.into());
        self
    }

    /// Keep this JSON object with the call.
    #[must_use]
    pub fn metadata(mut self, metadata: Value) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Change settings for this call: an object with `agent`, `retell_llm` or `conversation_flow`, each an object.
    #[must_use]
    pub fn agent_override(mut self, changes: Value) -> Self {
        self.agent_override = Some(changes);
        self
    }

    /// Whether the caller is turned away.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.reject == Some(true)
    }

    /// Reads what a service answered: `{"call_inbound": {…}}`, for a text message `chat_inbound`, or `{}`. Numbers and
    /// booleans among the variables become text, nulls and unknown fields are left out.
    ///
    /// # Errors
    /// The first field that is not as the contract has it.
    pub fn from_json(body: &Value, kind: InboundKind) -> Result<Self, InvalidField> {
        let body = body.as_object().ok_or_else(|| InvalidField::new("the answer", "expected a JSON object"))?;
        let Some(fields) = body.get(payload_key(kind)) else {
            let other = || InvalidField::new(payload_key(kind), "the answer holds something else");
            return if body.is_empty() { Ok(Self::empty()) } else { Err(other()) };
        };
        let fields = fields.as_object().ok_or_else(|| InvalidField::new(payload_key(kind), "expected an object"))?;
        let field = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let answer = Self {
            reject: read_field(field("reject"), "reject", Value::as_bool, "expected true or false")?,
            agent_id: read_field(field("override_agent_id"), "override_agent_id", text, "expected a text")?,
            agent_version: read_field(
                field("override_agent_version"),
                "override_agent_version",
                Value::as_i64,
                "expected a whole number",
            )?,
            dynamic_variables: parse_dynamic_variables(field("dynamic_variables"))?,
            metadata: field("metadata").cloned(),
            agent_override: field("agent_override").cloned(),
        };
        answer.check()?;
        Ok(answer)
    }

    /// Whether it keeps the contract.
    ///
    /// # Errors
    /// The first field that does not.
    pub fn check(&self) -> Result<(), InvalidField> {
        let refused = |field: &str, why| Err(InvalidField::new(field, why));
        if self.agent_id.as_ref().is_some_and(|id| id.trim().is_empty()) {
            return refused("override_agent_id", "expected the id of an agent, it is empty");
        }
        if self.agent_version.is_some_and(|version| version < 0) {
            return refused("override_agent_version", "expected 0 or more");
        }
        if self.dynamic_variables.keys().any(String::is_empty) {
            return refused("dynamic_variables", "one has no name");
        }
        if let Some(metadata) = &self.metadata {
            if !metadata.is_object() {
                return refused("metadata", "expected an object");
            }
            if metadata.to_string().len() > MAX_METADATA_BYTES {
                return refused("metadata", "it is larger than 50 kB");
            }
        }
        if let Some(changes) = &self.agent_override {
            let Some(changes) = changes.as_object() else {
                return refused("agent_override", "expected an object");
            };
            if let Some((path, why)) = overrides::find_invalid_field(changes) {
                let field = path.iter().fold("agent_override".to_owned(), |field, name| field_path(&field, name));
                return refused(&field, why);
            }
        }
        if self.to_json(InboundKind::Call).len() > MAX_ANSWER_BYTES {
            return refused("the answer", "it is larger than 256 KiB");
        }
        Ok(())
    }

    /// As Retell reads it.
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
        let variables =
            || self.dynamic_variables.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str()))).collect();
        put("dynamic_variables", (!self.dynamic_variables.is_empty()).then(|| Value::Object(variables())));
        put("metadata", self.metadata.clone());
        put("agent_override", self.agent_override.clone());
        let mut body = Map::new();
        body.insert(payload_key(kind).to_owned(), Value::Object(fields));
        Value::Object(body).to_string()
    }
}

/// The key of request and answer.
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
    why: &'static str,
) -> Result<Option<T>, InvalidField> {
    value.map(|value| read(value).ok_or_else(|| InvalidField::new(field, why))).transpose()
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
                return Err(InvalidField::new(&field_path(FIELD, name), "expected a text"));
            }
        };
        variables.insert(name.clone(), text);
    }
    Ok(variables)
}

/// `metadata.name`, unless the name is none that somebody would choose: it may be a caller's words then.
fn field_path(field: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-');
    let shown = (1..=40).contains(&name.len()) && name.chars().all(plain);
    if shown { format!("{field}.{name}") } else { field.to_owned() }
}

impl fmt::Debug for InboundAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables and metadata may hold what is known of a caller.
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
    fn what_keeps_the_contract_is_passed_on() {
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
    fn every_field_that_breaks_it_is_named() {
        for (fields, said) in [
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
            (json!({ "agent_override": {"agent": {"voice_id": 7}} }), "agent_override.agent.voice_id: expected a text"),
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
            let why = round_trip(&fields).unwrap_err();
            assert!(why.starts_with(said) && !why.contains("Jane"), "{said}: {why}");
        }
        for body in [json!([]), json!("x"), json!({"reject": true}), json!({"chat_inbound": {}})] {
            assert!(InboundAnswer::from_json(&body, InboundKind::Call).is_err(), "{body}");
        }
    }
}
