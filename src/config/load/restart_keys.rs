//! The keys whose changes need a restart.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::Settings;

/// Keys that a reload applies; every other key needs a restart.
const RELOADABLE_KEYS: [&str; 4] = ["companies", "functions", "handlers", "security.keys"];
/// Sections that a reload applies as a whole.
const RELOADABLE_SECTIONS: [&str; 4] = ["alarms.", "inbound.", "retell.", "retention."];

impl Settings {
    /// The keys, such as `server.port`, whose values differ and that a reload does not apply.
    #[must_use]
    pub fn keys_requiring_restart(&self, other: &Self) -> Vec<String> {
        let before = flatten(self);
        let mut keys = Vec::new();
        for (key, value) in flatten(other) {
            let is_reloadable = RELOADABLE_KEYS.contains(&key.as_str())
                || RELOADABLE_SECTIONS.iter().any(|section| key.starts_with(section));
            if !is_reloadable && before.get(&key) != Some(&value) {
                keys.push(key);
            }
        }
        keys
    }
}

/// All values by dotted key. A list is one value.
fn flatten(settings: &Settings) -> BTreeMap<String, Value> {
    fn flatten_into(path: &str, value: Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    flatten_into(&if path.is_empty() { name } else { format!("{path}.{name}") }, value, into);
                }
            }
            value => drop(into.insert(path.to_owned(), value)),
        }
    }
    let mut values = BTreeMap::new();
    if let Ok(tree) = serde_json::to_value(settings) {
        flatten_into("", tree, &mut values);
    }
    values
}
