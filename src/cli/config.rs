//! `config show|check|default`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::functions;
use super::output::{self, CliError, CliResult};
use crate::config::{ConfigSources, ProgramSearchPath, Settings};
use crate::egress::Egress;
use crate::handlers::HandlerRegistry;
use crate::live::functions::FunctionRegistry;
use crate::live::inbound::InboundRules;
use crate::security::keys::ApiKey;
use crate::security::redact;
use crate::storage::sqlite::SqliteUrl;
use crate::telemetry::logging;

/// The file that says what is built in, with a comment on every key.
const DEFAULT_TOML: &str = include_str!("../../config/default.toml");
/// How a secret is written out.
const REDACTED_SECRET: &str = "***";

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the settings after all layers were merged, as TOML, with where each comes from; no secrets
    Show(ConfigShowArgs),
    /// Say whether the receiver would start with these settings (exit code 0), and if not, why (1)
    Check,
    /// Print config/default.toml: every key, its built-in value, and what it means
    Default,
}

#[derive(Debug, Args)]
pub(super) struct ConfigShowArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ConfigCommand {
    pub(super) fn run(self) -> CliResult {
        match self {
            Self::Show(show) => show.run(),
            Self::Check => print_check(),
            Self::Default => output::print_line(DEFAULT_TOML.trim_end()),
        }
    }
}

fn print_check() -> CliResult {
    let settings = load_checked_settings(&ConfigSources::from_process()?)?;
    let warnings = settings.warnings(settings.server.port);
    output::print_line(if warnings.is_empty() { "ok" } else { "ok, with warnings:" })?;
    warnings.iter().try_for_each(|warning| output::print_line(format!("  {warning}")))
}

/// Whatever `serve` would refuse for what is in the settings.
pub(super) fn load_checked_settings(sources: &ConfigSources) -> Result<Settings, CliError> {
    let settings = Settings::load(sources)?;
    SqliteUrl::parse(&settings.storage.url)?;
    let egress = Egress::new(&settings.egress)?;
    let path = ProgramSearchPath::from_process();
    HandlerRegistry::validate(&settings.handlers, &egress, &path)?;
    FunctionRegistry::check(&functions::all_functions(&settings)?, &egress, &path)?;
    InboundRules::check(&settings.inbound, &egress)?;
    logging::validate(&settings.log).map_err(CliError::Message)?;
    Ok(settings)
}

impl ConfigShowArgs {
    fn run(&self) -> CliResult {
        let sources = ConfigSources::from_process()?;
        let settings = Settings::load(&sources)?;
        let mut tree = serde_json::to_value(&settings)?;
        redact_urls(&mut tree);
        if self.json {
            return output::print_json(&tree);
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
        append_table("", sections, &origin, &mut lines);
        output::print_line(lines.join("\n").trim())
    }
}

/// Passwords inside URLs; secrets of their own hide themselves.
fn redact_urls(tree: &mut Value) {
    match tree {
        Value::String(text) => *text = redact::url(text),
        Value::Array(items) => items.iter_mut().for_each(redact_urls),
        Value::Object(fields) => fields.values_mut().for_each(redact_urls),
        _ => {}
    }
}

/// A table's own keys, then the tables in it, then the lists of tables: the order TOML needs.
fn append_table(path: &str, fields: &Map<String, Value>, origin: &impl Fn(&str) -> String, lines: &mut Vec<String>) {
    let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, value) in fields.iter().filter(|(_, value)| table_array_items(value).is_empty() && !value.is_object()) {
        lines.push(format_setting(name, value, &origin(&inside(name))));
    }
    for (name, value) in fields {
        let path = inside(name);
        if let Value::Object(fields) = value {
            lines.push(format!("\n[{path}]"));
            append_table(&path, fields, origin, lines);
        }
        for fields in table_array_items(value) {
            lines.push(format!("\n[[{path}]]  # {}", origin(&path)));
            let entries = fields.iter().map(|(name, value)| format_setting(name, value, ""));
            lines.extend(entries);
        }
    }
}

/// The tables of a list of tables.
fn table_array_items(value: &Value) -> Vec<&Map<String, Value>> {
    value.as_array().map(|items| items.iter().filter_map(Value::as_object).collect()).unwrap_or_default()
}

/// `port = 8000  # PORT`. What is unset or secret is commented out, so that the whole can be used as a file.
fn format_setting(name: &str, value: &Value, origin: &str) -> String {
    let origin = if origin.is_empty() { String::new() } else { format!("  # {origin}") };
    if value.is_null() {
        return format!("# {name} is not set{origin}");
    }
    let text = output::to_inline_toml(value);
    format!("{}{name} = {text}{origin}", if is_secret(value) { "# " } else { "" })
}

fn is_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => text == REDACTED_SECRET,
        Value::Array(items) => items.iter().any(is_secret),
        Value::Object(fields) => fields.values().any(is_secret),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::format_setting;

    #[test]
    fn leaves_are_toml_and_secrets_are_comments() {
        assert_eq!(format_setting("port", &json!(8000), "PORT"), "port = 8000  # PORT");
        assert_eq!(format_setting("url", &json!(null), "built in"), "# url is not set  # built in");
        assert_eq!(format_setting("keys", &json!(["***"]), "x"), "# keys = [\"***\"]  # x");
        assert_eq!(format_setting("token", &json!("***"), ""), "# token = \"***\"");
        assert_eq!(format_setting("events", &json!(["a\"b"]), ""), r#"events = ["a\"b"]"#);
        assert_eq!(
            format_setting("metadata", &json!({"a": [1, {"b c": "d"}]}), ""),
            r#"metadata = { a = [1, { "b c" = "d" }] }"#
        );
        assert_eq!(format_setting("ask", &json!({"url": "***"}), ""), r#"# ask = { url = "***" }"#);
    }
}
