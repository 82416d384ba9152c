//! `[[functions]]`: what an agent's model can call.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CompanySettings, ConfigError, DEFAULT_COMPANY_SLUG, string_list};
use crate::base::secret::Secret;

const DEFAULT_TIMEOUT_MS: u64 = 10_000;
/// As long as Retell can be told to wait.
const MAX_TIMEOUT_MS: u64 = 600_000;
const DEFAULT_IDEMPOTENCY_WINDOW_MS: u64 = 300_000;
/// Answers are kept for a day.
const MAX_IDEMPOTENCY_WINDOW_MS: u64 = 86_400_000;
const DEFAULT_CONCURRENCY: u16 = 64;
const DEFAULT_CALL_ID_HEADER: &str = "x-call-id";
const ALLOWED_METHODS: [&str; 5] = ["POST", "PUT", "PATCH", "GET", "DELETE"];

/// What makes two requests one invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdempotencyMode {
    /// The model's id of the tool call, else call, name and arguments.
    #[default]
    Call,
    /// Nothing: each request is an invocation.
    None,
}

/// What is answered when a function could not be called, or not in time.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum FunctionFallback {
    /// As text.
    Text(String),
    /// As JSON.
    Json(Map<String, Value>),
}

/// One `[[functions]]` table.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FunctionSettings {
    /// What Retell calls it by: 1 to 64 letters, digits, `-` or `_`. A part of its URL.
    pub name: String,
    /// What the agent's model is told about it.
    #[serde(default)]
    pub description: String,
    /// The JSON Schema of its arguments; without one it takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Map<String, Value>>,
    /// A file with that schema, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_file: Option<PathBuf>,
    /// Where requests are posted to. It may carry a token, so it is shown without its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// The program that is run, with its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// A function that comes with the receiver, or was given to it in Rust, under this table's name and rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<String>,
    /// With `url`: headers to add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// With `url`: signs as Standard Webhooks say, `whsec_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// HTTP methods that are answered.
    #[serde(default = "default_methods", deserialize_with = "string_list::deserialize_strings")]
    pub methods: Vec<String>,
    /// After so long the fallback is answered.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// What is answered when it could not be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FunctionFallback>,
    /// What makes two requests one invocation.
    #[serde(default)]
    pub idempotency: IdempotencyMode,
    /// How long requests alike are one invocation when the model's id of the tool call is not told.
    #[serde(default = "default_idempotency_window_ms")]
    pub idempotency_window_ms: u64,
    /// Slugs of the companies that have it; empty means all.
    #[serde(default, deserialize_with = "string_list::deserialize_strings")]
    pub companies: Vec<String>,
    /// Invocations at the same time; further ones wait.
    #[serde(default = "default_concurrency")]
    pub concurrency: u16,
    /// The header with the call's id, for requests that hold arguments only.
    #[serde(default = "default_call_id_header")]
    pub call_id_header: String,
}

impl FunctionSettings {
    /// A table with a name only.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            parameters: None,
            parameters_file: None,
            url: None,
            command: Vec::new(),
            builtin: None,
            headers: BTreeMap::new(),
            secret: None,
            methods: default_methods(),
            timeout_ms: DEFAULT_TIMEOUT_MS,
            fallback: None,
            idempotency: IdempotencyMode::Call,
            idempotency_window_ms: DEFAULT_IDEMPOTENCY_WINDOW_MS,
            companies: Vec::new(),
            concurrency: DEFAULT_CONCURRENCY,
            call_id_header: default_call_id_header(),
        }
    }

    /// Whether a company has it.
    #[must_use]
    pub fn is_available_to(&self, company: &str) -> bool {
        self.companies.is_empty() || self.companies.iter().any(|slug| slug == company)
    }

    fn shares_company_with(&self, other: &Self) -> bool {
        let shared = |slug: &String| other.companies.contains(slug);
        self.companies.is_empty() || other.companies.is_empty() || self.companies.iter().any(shared)
    }

    fn invalid_setting(&self) -> Option<(&'static str, String)> {
        let why = |key, why: &str| Some((key, why.to_owned()));
        if !is_function_name(&self.name) {
            return why("name", "expected 1 to 64 letters, digits, `-` or `_`, as Retell has it");
        }
        if self.parameters.is_some() && self.parameters_file.is_some() {
            return why("parameters_file", "set either parameters or parameters_file, not both");
        }
        let program = self.command.first().is_some_and(|program| !program.is_empty());
        match [self.url.is_some(), program, self.builtin.is_some()].into_iter().filter(|set| *set).count() {
            0 => return why("url", "what should be called? Set url, command for a program, or builtin"),
            1 => {}
            _ => return why("url", "set one of url, command and builtin"),
        }
        if self.url.is_none() && self.secret.is_some() {
            return why("secret", "it signs requests, and there is no url");
        }
        if self.url.is_none() && !self.headers.is_empty() {
            return why("headers", "they are sent to a url, and there is none");
        }
        if self.builtin.is_some() && self.methods.iter().any(|method| matches!(method.as_str(), "GET" | "DELETE")) {
            return why("methods", "a signature of GET or DELETE covers no body: not for what comes with the receiver");
        }
        if self.command.iter().any(|text| text.contains('\0')) {
            return why("command", "a NUL cannot be passed to a program");
        }
        if self.methods.is_empty() || self.methods.iter().any(|method| !ALLOWED_METHODS.contains(&method.as_str())) {
            return why("methods", "expected some of POST, PUT, PATCH, GET, DELETE");
        }
        if !(100..=MAX_TIMEOUT_MS).contains(&self.timeout_ms) {
            return why("timeout_ms", "expected 100 to 600000 ms; Retell waits no longer");
        }
        if !(1..=MAX_IDEMPOTENCY_WINDOW_MS).contains(&self.idempotency_window_ms) {
            return why("idempotency_window_ms", "expected 1 to 86400000 ms: answers are kept for a day");
        }
        if !is_header_name(&self.call_id_header) {
            return why("call_id_header", "it is no name of a header: expected letters, digits and hyphens");
        }
        (self.concurrency == 0).then(|| ("concurrency", "expected at least 1".to_owned()))
    }
}

/// Whether Retell would take it as a tool's name.
#[must_use]
pub(crate) fn is_function_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

fn is_header_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(plain)
}

/// Refuses tables by their key. Two companies may each have a function of the same name.
pub(super) fn validate(functions: &[FunctionSettings], companies: &[CompanySettings]) -> Result<(), ConfigError> {
    let known = |slug: &String| slug == DEFAULT_COMPANY_SLUG || companies.iter().any(|company| company.slug == *slug);
    for (position, function) in functions.iter().enumerate() {
        let refused = |key: &str, why: String| Err(ConfigError::invalid(&format!("functions[{position}].{key}"), why));
        if let Some((key, why)) = function.invalid_setting() {
            return refused(key, why);
        }
        if let Some(slug) = function.companies.iter().find(|slug| !known(slug)) {
            return refused("companies", format!("there is no company `{slug}` in [[companies]]"));
        }
        let taken = |other: &FunctionSettings| other.name == function.name && other.shares_company_with(function);
        if functions[..position].iter().any(taken) {
            return refused("name", format!("`{}` is taken by an earlier function of the same company", function.name));
        }
    }
    Ok(())
}

fn default_methods() -> Vec<String> {
    ALLOWED_METHODS[..3].iter().map(|method| (*method).to_owned()).collect()
}

fn default_timeout_ms() -> u64 {
    DEFAULT_TIMEOUT_MS
}

fn default_idempotency_window_ms() -> u64 {
    DEFAULT_IDEMPOTENCY_WINDOW_MS
}

fn default_concurrency() -> u16 {
    DEFAULT_CONCURRENCY
}

fn default_call_id_header() -> String {
    DEFAULT_CALL_ID_HEADER.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> FunctionSettings {
        FunctionSettings { url: Some(Secret::new("https://example.com/x")), ..FunctionSettings::new("weather") }
    }

    #[test]
    fn mistakes_are_refused_by_their_key() {
        assert!(validate(&[table()], &[]).is_ok());
        for (table, key) in [
            (FunctionSettings { name: "two words".into(), ..table() }, "name"),
            (FunctionSettings { name: "x".repeat(65), ..table() }, "name"),
            (FunctionSettings { url: None, ..table() }, "url"),
            (FunctionSettings { command: vec!["x".into()], ..table() }, "url"),
            (FunctionSettings { companies: vec!["nobody".into()], ..table() }, "companies"),
            (FunctionSettings { methods: vec!["get".into()], ..table() }, "methods"),
            (FunctionSettings { methods: vec![], ..table() }, "methods"),
            (FunctionSettings { timeout_ms: 0, ..table() }, "timeout_ms"),
            (FunctionSettings { idempotency_window_ms: 0, ..table() }, "idempotency_window_ms"),
            (FunctionSettings { concurrency: 0, ..table() }, "concurrency"),
            (FunctionSettings { call_id_header: "not a header!".into(), ..table() }, "call_id_header"),
            (FunctionSettings { call_id_header: String::new(), ..table() }, "call_id_header"),
        ] {
            let error = validate(&[table], &[]).unwrap_err().to_string();
            assert!(error.contains(&format!("functions[0].{key}")), "{key}: {error}");
        }
    }

    #[test]
    fn a_name_is_taken_within_a_company() {
        let of = |companies: &[&str]| FunctionSettings {
            companies: companies.iter().map(|slug| (*slug).to_owned()).collect(),
            ..table()
        };
        assert!(!of(&["a"]).shares_company_with(&of(&["b"])));
        assert!(of(&["a"]).shares_company_with(&of(&["b", "a"])) && of(&["a"]).shares_company_with(&of(&[])));
        assert!(validate(&[of(&["default"]), of(&[])], &[]).is_err());
        assert!(of(&[]).is_available_to("a") && of(&["a"]).is_available_to("a") && !of(&["a"]).is_available_to("b"));
    }
}
