//! `functions export|import`: from one receiver to another, and from a Retell agent's tools.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value};

use super::described;
use crate::cli::output::{self, Done, Failure};
use crate::cli::send;
use crate::config::{FunctionSettings, Settings};

#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// JSON: what `functions export` printed, a list of tools, or an object with `general_tools` (`-` for standard input)
    file: PathBuf,
}

pub(super) fn export(settings: &Settings) -> Done {
    output::json(&settings.functions.iter().map(described).collect::<Result<Vec<_>, _>>()?)
}

impl Import {
    pub(super) fn run(&self) -> Done {
        let name = self.file.display();
        let read: Value = serde_json::from_slice(&send::read(&self.file)?)
            .map_err(|error| Failure::Because(format!("{name} is no JSON: {error}")))?;
        let lists = ["general_tools", "tools"].iter().find_map(|key| read.get(*key)?.as_array());
        let Some(items) = read.as_array().or(lists) else {
            return Err(Failure::Because(format!("{name} holds no list of functions or tools")));
        };
        let mut count = 0;
        for item in items.iter().filter_map(Value::as_object) {
            if let Some(fields) = table(item) {
                output::line(toml(&fields))?;
                count += 1;
            }
        }
        if count == 0 {
            return Err(Failure::Because(format!("{name} holds no function, and no tool of the type `custom`")));
        }
        Ok(())
    }
}

/// A `[[functions]]` table's fields; `None` for a tool of another type.
fn table(item: &Map<String, Value>) -> Option<Map<String, Value>> {
    let Some(kind) = item.get("type") else { return Some(item.clone()) };
    if kind != "custom" {
        return None;
    }
    let mut fields = Map::new();
    for key in ["name", "description", "parameters", "url", "timeout_ms"] {
        fields.extend(item.get(key).filter(|value| !value.is_null()).map(|value| (key.to_owned(), value.clone())));
    }
    if let Some(method) = item.get("method").filter(|method| *method != "POST") {
        fields.insert("methods".to_owned(), Value::Array(vec![method.clone()]));
    }
    // Retell fills {{variables}} in; nobody does here.
    let plain = |value: &Value| value.as_str().is_some_and(|text| !text.contains("{{"));
    let headers = item.get("headers").and_then(Value::as_object).into_iter().flatten();
    let headers: Map<_, _> =
        headers.filter(|(_, value)| plain(value)).map(|(name, value)| (name.clone(), value.clone())).collect();
    if !headers.is_empty() {
        fields.insert("headers".to_owned(), Value::Object(headers));
    }
    Some(fields)
}

/// Keys of a table, in the order people read them; what export hides is left to be filled in.
fn toml(fields: &Map<String, Value>) -> String {
    let usual = serde_json::to_value(FunctionSettings::new("")).unwrap_or_default();
    let first = ["name", "description", "url", "command", "builtin"];
    let rest = fields.keys().map(String::as_str).filter(|key| !first.contains(key));
    let mut lines = vec!["[[functions]]".to_owned()];
    for key in first.into_iter().chain(rest) {
        let Some(value) = fields.get(key).filter(|value| !value.is_null() && usual.get(key) != Some(*value)) else {
            continue;
        };
        let hidden = value.to_string().contains("***");
        lines.push(format!("{}{key} = {}", if hidden { "# " } else { "" }, output::toml(value)));
    }
    lines.push(String::new());
    lines.join("\n")
}
