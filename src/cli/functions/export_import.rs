//! `functions export|import`: moves functions between receivers, and converts the tools of a Retell agent.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::input;
use crate::cli::output::{self, CliError, CliResult};
use crate::config::{FunctionSettings, Settings};
use crate::operations::functions::list_functions;

#[derive(Debug, Args)]
pub(in crate::cli) struct FunctionsImportArgs {
    /// JSON file with the output of `functions export`, a list of tools, or an object with `general_tools`, `states` or
    /// `tools`, as in Retell's LLMs and conversation flows; `-` for standard input
    file: PathBuf,
}

pub(super) fn export_functions(settings: &Settings) -> CliResult {
    output::print_json(&list_functions(settings)?)
}

impl FunctionsImportArgs {
    pub(super) fn run(&self) -> CliResult {
        let name = self.file.display();
        let document: Value = serde_json::from_slice(&input::read_file_or_stdin(&self.file)?)
            .map_err(|error| CliError::Message(format!("{name}: not valid JSON: {error}")))?;
        let Some(items) = find_items(&document) else {
            return Err(CliError::Message(format!(
                "{name}: no list of functions or tools; expected the output of `functions export`, or a Retell LLM or \
                 conversation flow"
            )));
        };
        let tables: Vec<_> = items.into_iter().filter_map(to_config_table).collect();
        if tables.is_empty() {
            return Err(CliError::Message(format!(
                "{name}: contains neither a function nor a tool of the type `custom`"
            )));
        }
        tables.iter().try_for_each(output::print_line)
    }
}

/// The functions or tools of a document: a list, or the lists of a Retell LLM or conversation flow. `None` without a
/// list.
fn find_items(document: &Value) -> Option<Vec<&Map<String, Value>>> {
    let mut lists: Vec<_> = document.as_array().into_iter().collect();
    lists.extend(["general_tools", "tools"].iter().filter_map(|key| document.get(*key)?.as_array()));
    let states = document.get("states").and_then(Value::as_array).into_iter().flatten();
    lists.extend(states.filter_map(|state| state.get("tools")?.as_array()));
    if lists.is_empty() {
        return None;
    }
    Some(lists.into_iter().flatten().filter_map(Value::as_object).collect())
}

/// The `[[functions]]` table of a function or tool; `None` for a tool that is not of the type `custom`.
fn to_config_table(item: &Map<String, Value>) -> Option<String> {
    if item.get("type").is_some() {
        return convert_tool(item).map(|(fields, not_converted)| format_function_toml(&fields, &not_converted));
    }
    let name = item.get("name").unwrap_or(&Value::Null);
    // A built-in function without own settings needs no table: enabling its feature adds it.
    let built_in_keys = ["name", "builtin", "description", "parameters"];
    let defaults = serde_json::to_value(FunctionSettings::new("")).unwrap_or_default();
    let is_default =
        |(key, value): (&String, &Value)| built_in_keys.contains(&key.as_str()) || defaults.get(key) == Some(value);
    if item.get("builtin") == Some(name) && item.iter().all(is_default) {
        return Some(format!(
            "# {name} is built in: enable [appointments] in the receiver that gets these functions\n"
        ));
    }
    Some(format_function_toml(item, &[]))
}

/// The settings for a Retell tool of the type `custom`, and a comment per property that has no equivalent.
fn convert_tool(item: &Map<String, Value>) -> Option<(Map<String, Value>, Vec<String>)> {
    if item.get("type")? != "custom" {
        return None;
    }
    let mut fields = Map::new();
    let mut not_converted = Vec::new();
    for (key, value) in item.iter().filter(|(_, value)| !is_empty_value(value)) {
        match key.as_str() {
            "name" | "description" | "parameters" | "url" | "timeout_ms" => {
                fields.insert(key.clone(), value.clone());
            }
            "method" if value == "POST" => {}
            "method" => {
                fields.insert("methods".to_owned(), Value::Array(vec![value.clone()]));
                if matches!(value.as_str(), Some("GET" | "DELETE")) {
                    not_converted.push(format!(
                        "the server received {} requests; it now receives POST with the arguments in the body",
                        sanitize_value(value)
                    ));
                }
            }
            "headers" => {
                let (constant, with_variables) = split_headers(value);
                not_converted.extend(with_variables.iter().map(|name| {
                    format!(
                        "the header {}: Retell replaces {{{{variables}}}} in it, the receiver does not",
                        sanitize_value(name)
                    )
                }));
                if !constant.is_empty() {
                    fields.insert(key.clone(), Value::Object(constant));
                }
            }
            // Properties that the tool printed by `functions schema` gets anew, or that only the dashboard uses.
            "type" | "tool_id" | "parameter_type" => {}
            key => not_converted.push(format!("{}: {}", sanitize_value(&key.into()), unsupported_reason(key))),
        }
    }
    Some((fields, not_converted))
}

/// Whether a property can be dropped without a comment, because it sets nothing.
fn is_empty_value(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn unsupported_reason(key: &str) -> &'static str {
    match key {
        "query_params" => "set them in the new tool; the receiver passes them on",
        "args_at_root" => "set it in the new tool; the server receives the body as Retell sends it",
        _ => "Retell applies it; set it in the new tool",
    }
}

/// The headers with a constant value, and the names of the headers with variables.
fn split_headers(value: &Value) -> (Map<String, Value>, Vec<Value>) {
    let all = value.as_object().into_iter().flatten();
    let (constant, with_variables): (Vec<_>, Vec<_>) =
        all.partition(|(_, value)| value.as_str().is_some_and(|text| !text.contains("{{")));
    let constant = constant.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    (constant, with_variables.into_iter().map(|(name, _)| name.as_str().into()).collect())
}

/// Text for one line of a TOML comment: a line break would end the comment.
fn sanitize_value(value: &Value) -> String {
    output::sanitize(value.as_str().unwrap_or_default())
}

/// Formats a table with the important keys first and defaults omitted. Secrets, which `functions export` replaces by
/// `***`, are commented out so that they have to be filled in.
fn format_function_toml(fields: &Map<String, Value>, not_converted: &[String]) -> String {
    let defaults = serde_json::to_value(FunctionSettings::new("")).unwrap_or_default();
    let first = ["name", "description", "url", "command", "builtin"];
    let rest = fields.keys().map(String::as_str).filter(|key| !first.contains(key));
    let mut lines = vec!["[[functions]]".to_owned()];
    for key in first.into_iter().chain(rest) {
        let Some(value) = fields.get(key).filter(|value| !value.is_null() && defaults.get(key) != Some(*value)) else {
            continue;
        };
        let prefix = if value.to_string().contains("***") { "# " } else { "" };
        lines.push(format!("{prefix}{key} = {}", output::to_inline_toml(value)));
    }
    lines.extend(not_converted.iter().map(|property| format!("# not converted: {property}")));
    lines.push(String::new());
    lines.join("\n")
}
