//! `[[functions]]`: custom functions that an agent's model can invoke.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::secret::Secret;
use crate::config::values::{duration_ms, string_list};
use crate::config::{CompanySettings, CompanySlug, DEFAULT_COMPANY_SLUG, FieldError};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest timeout that Retell lets a custom function have.
const MAX_TIMEOUT: Duration = Duration::from_mins(10);
const DEFAULT_IDEMPOTENCY_WINDOW: Duration = Duration::from_mins(5);
const MIN_IDEMPOTENCY_WINDOW: Duration = Duration::from_millis(1);
/// The invocation ledger keeps responses for a day.
const MAX_IDEMPOTENCY_WINDOW: Duration = Duration::from_hours(24);
const DEFAULT_CONCURRENCY: u16 = 64;
const DEFAULT_CALL_ID_HEADER: &str = "x-call-id";
const ALLOWED_METHODS: [&str; 5] = ["POST", "PUT", "PATCH", "GET", "DELETE"];

/// Which requests count as the same invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdempotencyMode {
    /// Requests with the same tool call id; without an id, with the same call, name and arguments.
    #[default]
    Call,
    /// Every request is a separate invocation.
    None,
}

/// The response when a function fails or exceeds its timeout.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum FunctionFallback {
    /// A string, which is sent as plain text.
    Text(String),
    /// A table, which is sent as a JSON object.
    Json(Map<String, Value>),
}

/// One `[[functions]]` table: a custom function at `/api/v1/function/<name>`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
pub struct FunctionSettings {
    /// Name under which Retell invokes the function, part of its URL: 1 to 64 letters, digits, `-` or `_`.
    #[schemars(example = &"order_status")]
    pub name: String,
    /// Description of the function for the agent's model.
    #[serde(default)]
    #[schemars(example = &"Says where an order is.")]
    pub description: String,
    /// JSON Schema of the arguments. Arguments that do not match are explained to the model. Unset: any arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{"type": "object", "required": ["order"]}]))]
    pub parameters: Option<Map<String, Value>>,
    /// File with the JSON Schema of the arguments, instead of `parameters`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"config/order_status.json")]
    pub parameters_file: Option<PathBuf>,
    /// URL that requests are posted to. It is displayed without its path, which may hold a token. Set one of `url`,
    /// `command` and `builtin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"https://example.com/functions/order-status")]
    pub url: Option<Secret>,
    /// Program with its arguments that is run instead of a request; it reads the function's arguments as JSON from
    /// standard input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = ["/usr/local/bin/order-status"])]
    pub command: Vec<String>,
    /// Built-in function, or a function registered in Rust, that is served under this table's name and settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"cancel_appointment")]
    pub builtin: Option<String>,
    /// With `url`: additional request headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>", extend("examples" = [{"authorization": "Bearer ..."}]))]
    pub headers: BTreeMap<String, Secret>,
    /// With `url`: secret that signs requests as in Standard Webhooks, `whsec_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"whsec_...")]
    pub secret: Option<Secret>,
    /// HTTP methods that are accepted: `POST`, `PUT`, `PATCH`, `GET`, `DELETE`. The signature of a GET or DELETE
    /// request covers no body, so a captured request can be repeated for five minutes.
    #[serde(default = "default_methods", deserialize_with = "string_list::deserialize_strings")]
    #[schemars(with = "string_list::StringList")]
    pub methods: Vec<String>,
    /// Milliseconds after which the fallback is sent, 100 to 600000.
    #[serde(rename = "timeout_ms", default = "default_timeout", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
    /// Response with status 200 when the function fails or exceeds `timeout_ms`: a string, or a table for JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"I cannot look that up right now.")]
    pub fallback: Option<FunctionFallback>,
    /// Which repeated requests get the response of the first one instead of a new invocation.
    #[serde(default)]
    pub idempotency: IdempotencyMode,
    /// Milliseconds within which equal requests without a tool call id count as one invocation, 1 to 86400000.
    #[serde(rename = "idempotency_window_ms", default = "default_idempotency_window", with = "duration_ms")]
    #[schemars(with = "u64")]
    pub idempotency_window: Duration,
    /// Slugs of the companies that have the function; empty: all companies.
    #[serde(default, deserialize_with = "string_list::deserialize_parsed")]
    #[schemars(with = "string_list::StringList")]
    pub companies: Vec<CompanySlug>,
    /// Number of invocations at the same time, at least 1. Further invocations wait.
    #[serde(default = "default_concurrency")]
    pub concurrency: u16,
    /// Request header with the call's id, for requests that hold only the arguments. The query parameter `call_id`
    /// works as well.
    #[serde(default = "default_call_id_header")]
    pub call_id_header: String,
}

impl FunctionSettings {
    /// A table with this name in which every other key is unset.
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
            timeout: DEFAULT_TIMEOUT,
            fallback: None,
            idempotency: IdempotencyMode::Call,
            idempotency_window: DEFAULT_IDEMPOTENCY_WINDOW,
            companies: Vec::new(),
            concurrency: DEFAULT_CONCURRENCY,
            call_id_header: default_call_id_header(),
        }
    }

    /// Whether the company with this slug has the function.
    #[must_use]
    pub fn is_available_to(&self, company: &str) -> bool {
        self.companies.is_empty() || self.companies.iter().any(|slug| **slug == *company)
    }

    fn shares_company_with(&self, other: &Self) -> bool {
        let shared = |slug: &CompanySlug| other.companies.contains(slug);
        self.companies.is_empty() || other.companies.is_empty() || self.companies.iter().any(shared)
    }

    fn invalid_setting(&self) -> Option<FieldError> {
        let why = |key, why: &str| Some(FieldError::new(key, why));
        if !is_function_name(&self.name) {
            return why("name", "expected 1 to 64 letters, digits, `-` or `_`, as Retell requires");
        }
        if self.parameters.is_some() && self.parameters_file.is_some() {
            return why("parameters_file", "set either parameters or parameters_file, not both");
        }
        let has_program = self.command.first().is_some_and(|program| !program.is_empty());
        let targets = [self.url.is_some(), has_program, self.builtin.is_some()];
        match targets.into_iter().filter(|is_set| *is_set).count() {
            0 => return why("url", "the function has no target; set `url`, `command` or `builtin`"),
            1 => {}
            _ => return why("url", "the function has several targets; set only one of `url`, `command` and `builtin`"),
        }
        if self.url.is_none() && self.secret.is_some() {
            return why("secret", "it signs requests, but `url` is not set");
        }
        if self.url.is_none() && !self.headers.is_empty() {
            return why("headers", "they are sent with requests, but `url` is not set");
        }
        if self.builtin.is_some() && self.methods.iter().any(|method| matches!(method.as_str(), "GET" | "DELETE")) {
            return why(
                "methods",
                "the signature of GET or DELETE covers no body, so built-in functions do not accept them",
            );
        }
        if self.command.iter().any(|text| text.contains('\0')) {
            return why("command", "a NUL character cannot be passed to a program");
        }
        if self.methods.is_empty() || self.methods.iter().any(|method| !ALLOWED_METHODS.contains(&method.as_str())) {
            return why("methods", "expected some of POST, PUT, PATCH, GET, DELETE");
        }
        if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&self.timeout) {
            return why("timeout_ms", "expected 100 to 600000 ms, the longest that Retell waits");
        }
        if !(MIN_IDEMPOTENCY_WINDOW..=MAX_IDEMPOTENCY_WINDOW).contains(&self.idempotency_window) {
            return why("idempotency_window_ms", "expected 1 to 86400000 ms; responses are kept for a day");
        }
        if !is_header_name(&self.call_id_header) {
            return why("call_id_header", "it is not a header name; expected letters, digits and hyphens");
        }
        (self.concurrency == 0).then(|| FieldError::new("concurrency", "expected at least 1"))
    }
}

/// Whether Retell accepts the name for a tool.
#[must_use]
pub(crate) fn is_function_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

fn is_header_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(plain)
}

/// Refuses invalid tables by their key. Different companies may each have a function with the same name.
pub(in crate::config) fn validate(
    functions: &[FunctionSettings],
    companies: &[CompanySettings],
) -> Result<(), FieldError> {
    let is_known =
        |slug: &CompanySlug| **slug == *DEFAULT_COMPANY_SLUG || companies.iter().any(|company| company.slug == **slug);
    for (position, function) in functions.iter().enumerate() {
        let invalid =
            |key: &str, why: String| Err(FieldError::new(key, why).in_list("functions", position, &function.name));
        if let Some(error) = function.invalid_setting() {
            return Err(error.in_list("functions", position, &function.name));
        }
        if let Some(slug) = function.companies.iter().find(|slug| !is_known(slug)) {
            return invalid("companies", format!("no company `{slug}` exists in [[companies]]"));
        }
        let has_same_name =
            |other: &FunctionSettings| other.name == function.name && other.shares_company_with(function);
        if functions[..position].iter().any(has_same_name) {
            return invalid("name", format!("an earlier function of the same company is named `{}`", function.name));
        }
    }
    Ok(())
}

fn default_methods() -> Vec<String> {
    ALLOWED_METHODS[..3].iter().map(|method| (*method).to_owned()).collect()
}

fn default_timeout() -> Duration {
    DEFAULT_TIMEOUT
}

fn default_idempotency_window() -> Duration {
    DEFAULT_IDEMPOTENCY_WINDOW
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
    fn invalid_values_are_refused_by_key() {
        assert!(validate(&[table()], &[]).is_ok());
        for (table, key) in [
            (FunctionSettings { name: "two words".into(), ..table() }, "name"),
            (FunctionSettings { name: "x".repeat(65), ..table() }, "name"),
            (FunctionSettings { url: None, ..table() }, "url"),
            (FunctionSettings { command: vec!["x".into()], ..table() }, "url"),
            (FunctionSettings { companies: vec!["unknown".parse().unwrap()], ..table() }, "companies"),
            (FunctionSettings { methods: vec!["get".into()], ..table() }, "methods"),
            (FunctionSettings { methods: vec![], ..table() }, "methods"),
            (FunctionSettings { timeout: Duration::ZERO, ..table() }, "timeout_ms"),
            (FunctionSettings { idempotency_window: Duration::ZERO, ..table() }, "idempotency_window_ms"),
            (FunctionSettings { concurrency: 0, ..table() }, "concurrency"),
            (FunctionSettings { call_id_header: "not a header!".into(), ..table() }, "call_id_header"),
            (FunctionSettings { call_id_header: String::new(), ..table() }, "call_id_header"),
        ] {
            let error = validate(&[table], &[]).unwrap_err();
            assert_eq!(error.key(), format!("functions[0].{key}"), "{error}");
        }
    }

    #[test]
    fn names_are_unique_per_company() {
        let of = |companies: &[&str]| FunctionSettings {
            companies: companies.iter().map(|slug| slug.parse().unwrap()).collect(),
            ..table()
        };
        assert!(!of(&["acme"]).shares_company_with(&of(&["globex"])));
        assert!(
            of(&["acme"]).shares_company_with(&of(&["globex", "acme"])) && of(&["acme"]).shares_company_with(&of(&[]))
        );
        assert!(validate(&[of(&["default"]), of(&[])], &[]).is_err());
        assert!(
            of(&[]).is_available_to("acme")
                && of(&["acme"]).is_available_to("acme")
                && !of(&["acme"]).is_available_to("globex")
        );
    }
}
