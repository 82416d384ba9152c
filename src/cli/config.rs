//! `config show|check|default`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::functions;
use super::output::{self, Done, Failure};
use crate::answers::functions::FunctionRegistry;
use crate::answers::inbound::Rules;
use crate::config::{ProgramPath, Settings, Sources};
use crate::egress::Egress;
use crate::handlers::Registry;
use crate::security::keys::ApiKey;
use crate::security::redact;
use crate::storage::sqlite::SqliteUrl;
use crate::telemetry::logging;

/// The file that says what is built in, with a comment on every key.
const DEFAULT: &str = include_str!("../../config/default.toml");
/// How a secret is written out.
const HIDDEN: &str = "***";

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Print the settings after all layers were merged, as TOML, with where each comes from; no secrets
    Show(Show),
    /// Say whether the receiver would start with these settings (exit code 0), and if not, why (1)
    Check,
    /// Print config/default.toml: every key, its built-in value, and what it means
    Default,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Config {
    pub(super) fn run(self) -> Done {
        match self {
            Self::Show(show) => show.run(),
            Self::Check => check(),
            Self::Default => output::line(DEFAULT.trim_end()),
        }
    }
}

fn check() -> Done {
    let settings = checked(&Sources::of_process()?)?;
    let warnings = settings.warnings(settings.server.port);
    output::line(if warnings.is_empty() { "ok" } else { "ok, with warnings:" })?;
    warnings.iter().try_for_each(|warning| output::line(format!("  {warning}")))
}

/// Whatever `serve` would refuse for what is in the settings.
pub(super) fn checked(sources: &Sources) -> Result<Settings, Failure> {
    let settings = Settings::load(sources)?;
    SqliteUrl::parse(&settings.storage.url)?;
    let egress = Egress::new(&settings.egress)?;
    let path = ProgramPath::of_process();
    Registry::check(&settings.handlers, &egress, &path)?;
    FunctionRegistry::check(&functions::tables(&settings)?, &egress, &path)?;
    Rules::check(&settings.inbound, &egress)?;
    logging::check(&settings.log).map_err(Failure::Because)?;
    Ok(settings)
}

impl Show {
    fn run(&self) -> Done {
        let sources = Sources::of_process()?;
        let settings = Settings::load(&sources)?;
        let mut tree = serde_json::to_value(&settings)?;
        hide(&mut tree);
        if self.json {
            return output::json(&tree);
        }
        let origins = sources.origins()?;
        let fingerprints: Vec<_> =
            settings.security.keys.iter().map(|key| ApiKey::new(key).fingerprint().to_string()).collect();
        let origin = |key: &str| {
            let from = origins.get(key).map_or("built in", String::as_str);
            if key == "security.keys" && !fingerprints.is_empty() {
                return format!("{from}; fingerprint {}", fingerprints.join(", "));
            }
            from.to_owned()
        };
        let Value::Object(sections) = &tree else { return Ok(()) };
        let mut lines = Vec::new();
        table("", sections, &origin, &mut lines);
        output::line(lines.join("\n").trim())
    }
}

/// Passwords inside URLs; secrets of their own hide themselves.
fn hide(tree: &mut Value) {
    match tree {
        Value::String(text) => *text = redact::url(text),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(fields) => fields.values_mut().for_each(hide),
        _ => {}
    }
}

/// A table's own keys, then the tables in it, then the lists of tables: the order TOML needs.
fn table(path: &str, fields: &Map<String, Value>, origin: &impl Fn(&str) -> String, lines: &mut Vec<String>) {
    let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, value) in fields.iter().filter(|(_, value)| tables(value).is_empty() && !value.is_object()) {
        lines.push(leaf(name, value, &origin(&inside(name))));
    }
    for (name, value) in fields {
        let path = inside(name);
        if let Value::Object(fields) = value {
            lines.push(format!("\n[{path}]"));
            table(&path, fields, origin, lines);
        }
        for fields in tables(value) {
            lines.push(format!("\n[[{path}]]  # {}", origin(&path)));
            let entries = fields.iter().map(|(name, value)| leaf(name, value, ""));
            lines.extend(entries);
        }
    }
}

/// The tables of a list of tables.
fn tables(value: &Value) -> Vec<&Map<String, Value>> {
    value.as_array().map(|items| items.iter().filter_map(Value::as_object).collect()).unwrap_or_default()
}

/// `port = 8000  # PORT`. What is unset or secret is commented out, so that the whole can be used as a file.
fn leaf(name: &str, value: &Value, origin: &str) -> String {
    let origin = if origin.is_empty() { String::new() } else { format!("  # {origin}") };
    if value.is_null() {
        return format!("# {name} is not set{origin}");
    }
    let text = output::toml(value);
    format!("{}{name} = {text}{origin}", if is_secret(value) { "# " } else { "" })
}

fn is_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => text == HIDDEN,
        Value::Array(items) => items.iter().any(is_secret),
        Value::Object(fields) => fields.values().any(is_secret),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::leaf;

    #[test]
    fn leaves_are_toml_and_secrets_are_comments() {
        assert_eq!(leaf("port", &json!(8000), "PORT"), "port = 8000  # PORT");
        assert_eq!(leaf("url", &json!(null), "built in"), "# url is not set  # built in");
        assert_eq!(leaf("keys", &json!(["***"]), "x"), "# keys = [\"***\"]  # x");
        assert_eq!(leaf("token", &json!("***"), ""), "# token = \"***\"");
        assert_eq!(leaf("events", &json!(["a\"b"]), ""), r#"events = ["a\"b"]"#);
        assert_eq!(
            leaf("metadata", &json!({"a": [1, {"b c": "d"}]}), ""),
            r#"metadata = { a = [1, { "b c" = "d" }] }"#
        );
        assert_eq!(leaf("ask", &json!({"url": "***"}), ""), r#"# ask = { url = "***" }"#);
    }
}
