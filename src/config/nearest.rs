//! Finds the valid key that somebody who wrote an unknown one most likely meant.

use serde_json::Value;

use super::{HandlerSettings, Settings};

/// The valid key nearest to `unknown` (a dotted path without list positions), if any is near.
pub(super) fn nearest_key(unknown: &str) -> Option<String> {
    let closeness = |key: &String| strsim::normalized_damerau_levenshtein(key, unknown);
    valid_keys().into_iter().filter(|key| closeness(key) > 0.75).max_by(|a, b| closeness(a).total_cmp(&closeness(b)))
}

/// Every key there is: the defaults written out, which a test keeps complete.
pub(super) fn valid_keys() -> Vec<String> {
    let mut keys = Vec::new();
    if let Ok(tree) = serde_json::to_value(Settings::default()) {
        collect("", &tree, &mut keys);
    }
    if let Some(Ok(Value::Object(handler))) = HandlerSettings::built_in().first().map(serde_json::to_value) {
        keys.extend(handler.keys().map(|key| format!("handlers.{key}")));
    }
    keys.extend(["slug", "name", "keys", "agents"].map(|key| format!("companies.{key}")));
    keys
}

fn collect(path: &str, tree: &Value, keys: &mut Vec<String>) {
    match tree {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, value, keys);
            }
        }
        _ => keys.push(path.to_owned()),
    }
}
