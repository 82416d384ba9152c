//! `[inbound]`: answers to inbound calls and text messages.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::secret::Secret;
use crate::config::values::duration_ms;
use crate::config::{CompanySettings, CompanySlug, DEFAULT_COMPANY_SLUG, FieldError, RetellSignatureMode};

/// Retell gives up after 10 s; the rest is left for the network in both directions.
const MAX_TIMEOUT: Duration = Duration::from_secs(8);
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// `[inbound]`: how inbound calls and the first text messages of chats are answered.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct InboundSettings {
    /// Milliseconds from the head of a request to its answer, 100 to 8000. After that the fallback is the answer.
    #[serde(rename = "timeout_ms", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
    /// Answer when a rule fails or exceeds the timeout. Empty: Retell continues as configured there.
    pub fallback: InboundAnswerSettings,
    /// The first rule whose conditions all hold gives the answer. A condition that is not set holds. Without a
    /// matching rule the answer is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<InboundRuleSettings>,
}

impl Default for InboundSettings {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(1_500), fallback: InboundAnswerSettings::default(), rules: Vec::new() }
    }
}

/// `[inbound.fallback]`: an answer that needs no other service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct InboundAnswerSettings {
    /// Whether the call or chat is rejected.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "is_false")]
    pub reject: bool,
    /// Id of the agent that answers instead of the number's own agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"agent_1")]
    pub agent: Option<String>,
    /// Version of `agent`. Unset: Retell chooses the version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &3)]
    pub agent_version: Option<i64>,
    /// Templates for the agent's dynamic variables, by variable name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("examples" = [{"earlier_calls": "{{ caller.calls }}"}]))]
    pub dynamic_variables: BTreeMap<String, String>,
    /// Metadata that Retell stores with the call.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(extend("examples" = [{"source": "night"}]))]
    pub metadata: Map<String, Value>,
}

/// One `[[inbound.rules]]` table: conditions and an answer. A condition that is not set holds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
pub struct InboundRuleSettings {
    /// Unique name of the rule in the log and in stored answers, 1 to 64 characters.
    #[schemars(example = &"new callers at night")]
    pub name: String,

    /// Condition: the caller's number. Each entry is a number, a prefix with `*` such as `+4930*`, or `@` and the
    /// path of a file with one entry per line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["+4930*", "@vip.txt"])]
    pub from: Vec<String>,
    /// Condition: the called number, in the same forms as `from`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["+12025550178"])]
    pub to: Vec<String>,
    /// Condition: ids of the agents that Retell would use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["agent_1"])]
    pub agents: Vec<String>,
    /// Condition: slugs of the companies that received the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", example = ["acme"])]
    pub companies: Vec<CompanySlug>,
    /// Condition: a call, or the first text message of a chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"call")]
    pub kind: Option<InboundKind>,
    /// Condition: days such as `mon`, and ranges such as `mon-fri`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["mon-fri"])]
    pub days: Vec<String>,
    /// Condition: a range of local times, such as `09:00-17:00`. A range over midnight belongs to the day on which it
    /// began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"18:00-08:00")]
    pub hours: Option<String>,
    /// IANA time zone of `days` and `hours`, such as `Europe/Berlin`. Unset: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"Europe/Berlin")]
    pub time_zone: Option<String>,
    /// Condition: whether the call store has an earlier call of this caller to this company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &false)]
    pub known_caller: Option<bool>,

    /// Answer: the same as `inbound.fallback.reject`.
    #[schemars(extend("default" = false))]
    #[serde(default, skip_serializing_if = "is_false")]
    pub reject: bool,
    /// Answer: the same as `inbound.fallback.agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"agent_1")]
    pub agent: Option<String>,
    /// Answer: the same as `inbound.fallback.agent_version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &3)]
    pub agent_version: Option<i64>,
    /// Answer: the same as `inbound.fallback.dynamic_variables`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("examples" = [{"earlier_calls": "{{ caller.calls }}"}]))]
    pub dynamic_variables: BTreeMap<String, String>,
    /// Answer: the same as `inbound.fallback.metadata`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(extend("examples" = [{"source": "night"}]))]
    pub metadata: Map<String, Value>,
    /// Answer: forward the request to your own service and return its response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{"url": "https://example.com/inbound"}]))]
    pub ask: Option<InboundAskSettings>,
}

/// `ask`: the original request is posted to a service, and the service's response is returned.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
pub struct InboundAskSettings {
    /// URL of the service. It is not displayed, because it may hold a token.
    #[schemars(with = "String", example = &"https://example.com/inbound")]
    pub url: Secret,
    /// Secret that signs requests as in Standard Webhooks, `whsec_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"whsec_...")]
    pub secret: Option<Secret>,
    /// What the `X-Retell-Signature` header of the request holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "fresh"))]
    pub retell_signature: Option<RetellSignatureMode>,
    /// Milliseconds for the request, within `inbound.timeout_ms`. Unset: all of the time that is left.
    #[serde(rename = "timeout_ms", default, skip_serializing_if = "Option::is_none", with = "duration_ms::option")]
    #[schemars(with = "Option<u64>", example = &1000)]
    pub timeout: Option<Duration>,
    /// Additional headers of the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>", extend("examples" = [{"authorization": "Bearer ..."}]))]
    pub headers: BTreeMap<String, Secret>,
}

/// The kind of an inbound request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundKind {
    /// A call, the event `call_inbound`.
    Call,
    /// A text message that opens a chat, the event `chat_inbound`.
    Chat,
}

impl InboundRuleSettings {
    /// The rule's own answer, which `ask` replaces.
    #[must_use]
    pub fn static_answer(&self) -> InboundAnswerSettings {
        InboundAnswerSettings {
            reject: self.reject,
            agent: self.agent.clone(),
            agent_version: self.agent_version,
            dynamic_variables: self.dynamic_variables.clone(),
            metadata: self.metadata.clone(),
        }
    }
}

impl InboundSettings {
    pub(in crate::config) fn validate(&self, companies: &[CompanySettings]) -> Result<(), FieldError> {
        let is_known = |slug: &CompanySlug| {
            **slug == *DEFAULT_COMPANY_SLUG || companies.iter().any(|company| company.slug == **slug)
        };
        if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&self.timeout) {
            let why = format!(
                "{} ms is out of range; expected 100 to 8000 ms, because the caller waits and Retell gives up \
                 after 10 s",
                self.timeout.as_millis()
            );
            return Err(FieldError::new("inbound.timeout_ms", why));
        }
        for (position, rule) in self.rules.iter().enumerate() {
            let key = |key: &str| format!("inbound.rules[{position}].{key}");
            let invalid_name = |why: &str| Err(FieldError::new(key("name"), why));
            if !(1..=64).contains(&rule.name.len()) || rule.name.chars().any(char::is_control) {
                return invalid_name("expected 1 to 64 characters");
            }
            if self.rules[..position].iter().any(|earlier| earlier.name == rule.name) {
                return invalid_name("an earlier rule has the same name");
            }
            if let Some(slug) = rule.companies.iter().find(|slug| !is_known(slug)) {
                let why = format!("no company `{slug}` exists in [[companies]]");
                return Err(FieldError::new("companies", why).in_list("inbound.rules", position, &rule.name));
            }
        }
        Ok(())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
