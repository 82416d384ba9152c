//! Converts exported functions and the tools of a Retell agent to `[[functions]]` tables.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::base::escape::escape_text;
use crate::config::FunctionSettings;
use crate::operations::OperationError;
use crate::operations::text::inline_toml;
use crate::view::FunctionTableView;

/// The `[[functions]]` tables of a document: exported functions, a list of tools, or an object with `general_tools`,
/// `states` or `tools`, as in Retell's LLMs and conversation flows. Tools that are not of the type `custom` are left out.
///
/// # Errors
/// The document has no list, or nothing in it can be converted.
pub(crate) fn convert_functions(document: &Value) -> Result<Vec<FunctionTableView>, OperationError> {
    let items = find_items(document).ok_or_else(|| {
        OperationError::InvalidInput(
            "no list of functions or tools; expected exported functions, or a Retell LLM or conversation flow"
                .to_owned(),
        )
    })?;
    let tables: Vec<_> = items.into_iter().filter_map(to_config_table).collect();
    if tables.is_empty() {
        let message = "contains neither a function nor a tool of the type `custom`";
        return Err(OperationError::InvalidInput(message.to_owned()));
    }
    Ok(tables.into_iter().map(|toml| FunctionTableView { toml }).collect())
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
                        comment_text(value)
                    ));
                }
            }
            "headers" => {
                let (constant, with_variables) = split_headers(value);
                not_converted.extend(with_variables.iter().map(|name| {
                    format!(
                        "the header {}: Retell replaces {{{{variables}}}} in it, the receiver does not",
                        comment_text(name)
                    )
                }));
                if !constant.is_empty() {
                    fields.insert(key.clone(), Value::Object(constant));
                }
            }
            // Properties that the tool printed by `functions schema` gets anew, or that only the dashboard uses.
            "type" | "tool_id" | "parameter_type" => {}
            key => not_converted.push(format!("{}: {}", comment_text(&key.into()), unsupported_reason(key))),
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
fn comment_text(value: &Value) -> Cow<'_, str> {
    escape_text(value.as_str().unwrap_or_default())
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
        lines.push(format!("{prefix}{key} = {}", inline_toml(value)));
    }
    lines.extend(not_converted.iter().map(|property| format!("# not converted: {property}")));
    lines.push(String::new());
    lines.join("\n")
}
