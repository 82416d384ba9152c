//! `config show|check|default`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::cli::context;
use crate::cli::output::{self, CliResult};
use crate::config::reference;
use crate::operations::config::{check_settings, show_settings, startup_warnings};
use crate::operations::text::inline_toml;
use crate::view::SettingView;

/// Stands for a secret in serialized settings.
const REDACTED_SECRET: &str = "***";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Print the merged settings as TOML, with the source of each value; secrets are not printed
    Show(ConfigShowArgs),
    /// Check whether the receiver would start with these settings; exit code 0 if it would, otherwise 1 and the reason
    Check,
    /// Print config/default.toml: every key with its built-in value and its meaning
    Default,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ConfigShowArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl ConfigCommand {
    pub(in crate::cli) fn run(self) -> CliResult {
        match self {
            Self::Show(show) => show.run(),
            Self::Check => print_check(),
            Self::Default => output::print_line(reference::default_toml().trim_end()),
        }
    }
}

fn print_check() -> CliResult {
    let settings = check_settings(&context::config_sources()?)?;
    let warnings = startup_warnings(&settings, settings.server.port);
    output::print_line(if warnings.is_empty() { "ok" } else { "ok, with warnings:" })?;
    warnings.iter().try_for_each(|warning| output::print_line(format!("  {warning}")))
}

impl ConfigShowArgs {
    fn run(&self) -> CliResult {
        let shown = show_settings(&context::load_settings()?)?;
        if self.json { output::print_json(&shown) } else { output::print_line(format_toml(&shown.settings).trim()) }
    }
}

/// The settings as TOML. They are sorted by section, and in TOML, keys after a `[header]` belong to that header.
fn format_toml(settings: &[SettingView]) -> String {
    let mut lines = Vec::new();
    let mut section = "";
    for SettingView { key, value, origin } in settings {
        let tables = table_array_items(value);
        for fields in &tables {
            lines.push(format!("\n[[{key}]]  # {origin}"));
            lines.extend(fields.iter().map(|(name, value)| format_setting(name, value, "")));
        }
        if tables.is_empty() {
            let (setting_section, name) = key.rsplit_once('.').unwrap_or(("", key));
            if std::mem::replace(&mut section, setting_section) != setting_section {
                lines.push(format!("\n[{setting_section}]"));
            }
            lines.push(format_setting(name, value, origin));
        }
    }
    lines.join("\n")
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
    let text = inline_toml(value);
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
    use super::format_setting;

    #[test]
    fn values_are_toml_and_secrets_are_commented_out() {
        for (key, value, origin, line) in [
            ("port", "8000", "PORT", "port = 8000  # PORT"),
            ("url", "null", "built in", "# url is not set  # built in"),
            ("keys", r#"["***"]"#, "x", r#"# keys = ["***"]  # x"#),
            ("token", r#""***""#, "", r#"# token = "***""#),
            ("events", r#"["a\"b"]"#, "", r#"events = ["a\"b"]"#),
            ("metadata", r#"{"a": [1, {"b c": "d"}]}"#, "", r#"metadata = { a = [1, { "b c" = "d" }] }"#),
            ("ask", r#"{"url": "***"}"#, "", r#"# ask = { url = "***" }"#),
        ] {
            assert_eq!(format_setting(key, &serde_json::from_str(value).unwrap(), origin), line);
        }
    }
}
