//! `config show|check|default`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::output::{self, CliError, CliResult};
use crate::config::{ConfigSources, FieldError, ProgramSearchPath, Settings, reference};
use crate::egress::Egress;
use crate::handlers::HandlerRegistry;
use crate::live::appointments;
use crate::live::functions::FunctionRegistry;
use crate::live::inbound::InboundRules;
use crate::privacy::redact;
use crate::security::keys::ApiKey;
use crate::telemetry::logging;

/// Stands for a secret in serialized settings.
const REDACTED_SECRET: &str = "***";

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the merged settings as TOML, with the source of each value; secrets are not printed
    Show(ConfigShowArgs),
    /// Check whether the receiver would start with these settings; exit code 0 if it would, otherwise 1 and the reason
    Check,
    /// Print config/default.toml: every key with its built-in value and its meaning
    Default,
}

#[derive(Debug, Args)]
pub(super) struct ConfigShowArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl ConfigCommand {
    pub(super) fn run(self) -> CliResult {
        match self {
            Self::Show(show) => show.run(),
            Self::Check => print_check(),
            Self::Default => output::print_line(reference::default_toml().trim_end()),
        }
    }
}

fn print_check() -> CliResult {
    let settings = load_checked_settings(&ConfigSources::from_process()?)?;
    let warnings = settings.warnings(settings.server.port);
    output::print_line(if warnings.is_empty() { "ok" } else { "ok, with warnings:" })?;
    warnings.iter().try_for_each(|warning| output::print_line(format!("  {warning}")))
}

/// Loads the settings and makes every check of the settings that `serve` makes at startup.
pub(super) fn load_checked_settings(sources: &ConfigSources) -> Result<Settings, CliError> {
    let settings = Settings::load(sources)?;
    check_components(&settings).map_err(|error| settings.origins.locate(error))?;
    Ok(settings)
}

fn check_components(settings: &Settings) -> Result<(), FieldError> {
    let egress = Egress::new(&settings.egress);
    let path = ProgramSearchPath::from_process();
    HandlerRegistry::validate(&settings.handlers, &egress, &path)?;
    let built_in = appointments::function_definitions(settings);
    FunctionRegistry::check(&settings.functions, &built_in, &egress, &path)?;
    InboundRules::check(&settings.inbound, &egress)?;
    logging::validate(&settings.log)
}

impl ConfigShowArgs {
    fn run(&self) -> CliResult {
        let settings = Settings::load(&ConfigSources::from_process()?)?;
        let mut tree = serde_json::to_value(&settings)?;
        redact_urls(&mut tree);
        if self.json {
            return output::print_json(&tree);
        }
        let fingerprints: Vec<_> =
            settings.security.keys.iter().map(|key| ApiKey::new(key).fingerprint().to_string()).collect();
        let origin = |key: &str| {
            let source = settings.origins.layer(key).unwrap_or("built in");
            // Keys are not printed; the fingerprints show which ones are in use.
            if key == "security.keys" && !fingerprints.is_empty() {
                return format!("{source}; fingerprint {}", fingerprints.join(", "));
            }
            source.to_owned()
        };
        let Value::Object(sections) = &tree else { return Ok(()) };
        let mut lines = Vec::new();
        append_table("", sections, &origin, &mut lines);
        output::print_line(lines.join("\n").trim())
    }
}

/// Replaces passwords inside URLs. Settings that are secrets as a whole are of a type that serializes as `***`.
fn redact_urls(tree: &mut Value) {
    match tree {
        Value::String(text) => *text = redact::url(text),
        Value::Array(items) => items.iter_mut().for_each(redact_urls),
        Value::Object(fields) => fields.values_mut().for_each(redact_urls),
        _ => {}
    }
}

/// Appends the keys of a table first and its subtables afterwards: in TOML, keys after a `[header]` belong to that
/// header.
fn append_table(path: &str, fields: &Map<String, Value>, origin: &impl Fn(&str) -> String, lines: &mut Vec<String>) {
    let full_key = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, value) in fields {
        let is_table = value.is_object() || !table_array_items(value).is_empty();
        if !is_table {
            lines.push(format_setting(name, value, &origin(&full_key(name))));
        }
    }
    for (name, value) in fields {
        let path = full_key(name);
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

/// The tables of a TOML array of tables (`[[handlers]]`); empty for any other value.
fn table_array_items(value: &Value) -> Vec<&Map<String, Value>> {
    value.as_array().map(|items| items.iter().filter_map(Value::as_object).collect()).unwrap_or_default()
}

/// `port = 8000  # PORT`. Unset and secret values are commented out, so that the output is a valid configuration file.
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
    fn values_are_toml_and_secrets_are_commented_out() {
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
