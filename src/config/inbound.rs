//! `[inbound]`: what an inbound call or text message is answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CompanySettings, ConfigError, DEFAULT_COMPANY_SLUG, RetellSignatureMode};
use crate::base::secret::Secret;

/// Retell gives up after 10 s; what is left is for the way there and back.
const MAX_TIMEOUT_MS: u64 = 8_000;

/// `[inbound]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct InboundSettings {
    /// From the head of a request to its answer, in milliseconds. What is not decided by then gets the fallback.
    pub timeout_ms: u64,
    /// What is answered when something goes wrong or is late. Empty: go on as configured in Retell.
    pub fallback: InboundAnswerSettings,
    /// `[[inbound.rules]]`: the first one whose conditions all hold answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<InboundRuleSettings>,
}

impl Default for InboundSettings {
    fn default() -> Self {
        Self { timeout_ms: 1_500, fallback: InboundAnswerSettings::default(), rules: Vec::new() }
    }
}

/// `[inbound.fallback]`: an answer that needs nothing from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct InboundAnswerSettings {
    /// `true` turns the caller away.
    #[serde(skip_serializing_if = "is_false")]
    pub reject: bool,
    /// The agent to take instead of the number's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<i64>,
    /// Templates by the names of the agent's dynamic variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dynamic_variables: BTreeMap<String, String>,
    /// Kept with the call.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// One `[[inbound.rules]]` table: conditions, and an answer. A condition that is not set holds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct InboundRuleSettings {
    /// Unique; names the rule in the log and in the ledger.
    pub name: String,

    /// The caller's number: exact, a beginning with `*`, or `@` and the path of a file with one a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// The number called, in the same forms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Ids of agents that the number would use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// Slugs of companies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub companies: Vec<String>,
    /// A call, or the first text message of a chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<InboundKind>,
    /// Days such as `mon` and ranges such as `mon-fri`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
    /// From and until, such as `09:00-17:00`; may go beyond midnight, which belongs to the day it began on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<String>,
    /// IANA name, such as `Europe/Berlin`, of the zone in which days and hours are meant; UTC when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Whether the caller has called this company before, as far as the call store knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_caller: Option<bool>,

    /// As in `[inbound.fallback]`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reject: bool,
    /// As in `[inbound.fallback]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// As in `[inbound.fallback]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<i64>,
    /// As in `[inbound.fallback]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dynamic_variables: BTreeMap<String, String>,
    /// As in `[inbound.fallback]`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Asks a service of yours instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<InboundAskSettings>,
}

/// `ask`: the request is posted on as it came, and the service's answer passed back.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct InboundAskSettings {
    /// Where to. It may carry a token, so it is not shown.
    pub url: Secret,
    /// Signs as Standard Webhooks say, `whsec_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// What becomes of Retell's own signature; made anew when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retell_signature: Option<RetellSignatureMode>,
    /// How long it may take, within the budget; all of what is left of it when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Headers to add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
}

/// What is coming in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundKind {
    /// `call_inbound`.
    Call,
    /// `chat_inbound`.
    Chat,
}

impl InboundRuleSettings {
    /// What it answers by itself.
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
    pub(super) fn validate(&self, companies: &[CompanySettings]) -> Result<(), ConfigError> {
        let known =
            |slug: &String| slug == DEFAULT_COMPANY_SLUG || companies.iter().any(|company| company.slug == *slug);
        if !(100..=MAX_TIMEOUT_MS).contains(&self.timeout_ms) {
            let why = "it must be 100 to 8000 ms: a caller hears ringing meanwhile, and Retell gives up after 10 s";
            return Err(ConfigError::invalid("inbound.timeout_ms", why));
        }
        for (position, rule) in self.rules.iter().enumerate() {
            let key = |key: &str| format!("inbound.rules[{position}].{key}");
            let refused = |why: &str| Err(ConfigError::invalid(&key("name"), why.to_owned()));
            if !(1..=64).contains(&rule.name.len()) || rule.name.chars().any(char::is_control) {
                return refused("expected 1 to 64 characters");
            }
            if self.rules[..position].iter().any(|earlier| earlier.name == rule.name) {
                return refused("an earlier rule has the same name");
            }
            if let Some(slug) = rule.companies.iter().find(|slug| !known(slug)) {
                let why = format!("there is no company `{slug}` in [[companies]]");
                return Err(ConfigError::invalid(&key("companies"), why));
            }
        }
        Ok(())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
