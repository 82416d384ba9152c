//! `functions export|import`: from one receiver to another, and from a Retell agent's tools.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};

use super::{all_functions, function_json};
use crate::cli::output::{self, CliError, CliResult};
use crate::cli::send;
use crate::config::{FunctionSettings, Settings};

#[derive(Debug, Args)]
pub(in crate::cli) struct FunctionsImportArgs {
    /// JSON: what `functions export` printed, a list of tools, or an object with `general_tools`, `states` or `tools`, as
    /// Retell has its LLMs and conversation flows (`-` for standard input)
    file: PathBuf,
}

pub(super) fn export_functions(settings: &Settings) -> CliResult {
    output::print_json(&all_functions(settings)?.iter().map(function_json).collect::<Result<Vec<_>, _>>()?)
}

impl FunctionsImportArgs {
    pub(super) fn run(&self) -> CliResult {
        let name = self.file.display();
        let read: Value = serde_json::from_slice(&send::read_file_or_stdin(&self.file)?)
            .map_err(|error| CliError::Message(format!("{name} is no JSON: {error}")))?;
        let Some(items) = find_items(&read) else {
            return Err(CliError::Message(format!("{name} holds no list of functions or tools")));
        };
        let read: Vec<_> = items.into_iter().filter_map(to_config_table).collect();
        if read.is_empty() {
            return Err(CliError::Message(format!("{name} holds no function, and no tool of the type `custom`")));
        }
        read.iter().try_for_each(output::print_line)
    }
}

/// Those of a list, and those of an agent, wherever they are in it.
fn find_items(read: &Value) -> Option<Vec<&Map<String, Value>>> {
    let mut lists: Vec<_> = read.as_array().into_iter().collect();
    lists.extend(["general_tools", "tools"].iter().filter_map(|key| read.get(*key)?.as_array()));
    let states = read.get("states").and_then(Value::as_array).into_iter().flatten();
    lists.extend(states.filter_map(|state| state.get("tools")?.as_array()));
    (!lists.is_empty()).then(|| lists.into_iter().flatten().filter_map(Value::as_object).collect())
}

/// A `[[functions]]` table for it, with what of it is lost; `None` for a tool of another type.
fn to_config_table(item: &Map<String, Value>) -> Option<String> {
    if item.get("type").is_some() {
        return convert_tool(item).map(|(fields, lost)| format_function_toml(&fields, &lost));
    }
    let name = item.get("name").unwrap_or(&Value::Null);
    // Another receiver's own functions are there as soon as they are switched on.
    let rules = ["name", "builtin", "description", "parameters"];
    let usual = serde_json::to_value(FunctionSettings::new("")).unwrap_or_default();
    let is_usual = |(key, value): (&String, &Value)| rules.contains(&key.as_str()) || usual.get(key) == Some(value);
    if item.get("builtin") == Some(name) && item.iter().all(is_usual) {
        return Some(format!("# {name} comes with the receiver: enable [appointments] where this goes\n"));
    }
    Some(format_function_toml(item, &[]))
}

/// What is taken over of one of Retell's tools, and what is not.
fn convert_tool(item: &Map<String, Value>) -> Option<(Map<String, Value>, Vec<String>)> {
    if item.get("type")? != "custom" {
        return None;
    }
    let (mut fields, mut lost) = (Map::new(), Vec::new());
    for (key, value) in item.iter().filter(|(_, value)| !is_empty_value(value)) {
        match key.as_str() {
            "name" | "description" | "parameters" | "url" | "timeout_ms" => {
                fields.insert(key.clone(), value.clone());
            }
            "method" if value == "POST" => {}
            "method" => {
                fields.insert("methods".to_owned(), Value::Array(vec![value.clone()]));
                if matches!(value.as_str(), Some("GET" | "DELETE")) {
                    lost.push(format!(
                        "the server was sent {}; it is sent POST now, with the arguments in the body",
                        sanitize_value(value)
                    ));
                }
            }
            "headers" => {
                let (constant, filled) = split_headers(value);
                lost.extend(filled.iter().map(|name| {
                    format!(
                        "the header {}: Retell fills {{{{variables}}}} in, the receiver does not",
                        sanitize_value(name)
                    )
                }));
                if !constant.is_empty() {
                    fields.insert(key.clone(), Value::Object(constant));
                }
            }
            // How the dashboard shows it; the receiver is asked with the tool that `functions schema` prints.
            "type" | "tool_id" | "parameter_type" => {}
            key => lost.push(format!("{}: {}", sanitize_value(&key.into()), unsupported_reason(key))),
        }
    }
    Some((fields, lost))
}

/// Nothing is lost with it.
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
        "query_params" => "set them in the new tool, and they are passed on",
        "args_at_root" => "the server gets the body as Retell sends it; set it in the new tool as well",
        _ => "it is Retell's to do; set it in the new tool as well",
    }
}

/// Those with a constant value, and the names of the others.
fn split_headers(value: &Value) -> (Map<String, Value>, Vec<Value>) {
    let all = value.as_object().into_iter().flatten();
    let (constant, filled): (Vec<_>, Vec<_>) =
        all.partition(|(_, value)| value.as_str().is_some_and(|text| !text.contains("{{")));
    let constant = constant.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    (constant, filled.into_iter().map(|(name, _)| name.as_str().into()).collect())
}

/// On one line of a comment.
fn sanitize_value(value: &Value) -> String {
    output::sanitize(value.as_str().unwrap_or_default())
}

/// Keys of a table, in the order people read them; what export hides is left to be filled in.
fn format_function_toml(fields: &Map<String, Value>, lost: &[String]) -> String {
    let usual = serde_json::to_value(FunctionSettings::new("")).unwrap_or_default();
    let first = ["name", "description", "url", "command", "builtin"];
    let rest = fields.keys().map(String::as_str).filter(|key| !first.contains(key));
    let mut lines = vec!["[[functions]]".to_owned()];
    for key in first.into_iter().chain(rest) {
        let Some(value) = fields.get(key).filter(|value| !value.is_null() && usual.get(key) != Some(*value)) else {
            continue;
        };
        let hidden = value.to_string().contains("***");
        lines.push(format!("{}{key} = {}", if hidden { "# " } else { "" }, output::to_inline_toml(value)));
    }
    lines.extend(lost.iter().map(|what| format!("# not taken over: {what}")));
    lines.push(String::new());
    lines.join("\n")
}
