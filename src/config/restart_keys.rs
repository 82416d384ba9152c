//! What differs between two readings of the settings.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Settings;

/// Exchanged while the receiver runs; everything else takes a restart.
const RELOADABLE_KEYS: [&str; 4] = ["companies", "functions", "handlers", "security.keys"];
/// Sections that are looked up each time, followed, or exchanged whole.
const RELOADABLE_SECTIONS: [&str; 3] = ["alarms.", "inbound.", "retention."];

impl Settings {
    /// The keys whose values differ and that a running receiver does not exchange, such as `server.port`.
    #[must_use]
    pub fn keys_requiring_restart(&self, other: &Self) -> Vec<String> {
        let (before, after) = (flatten(self), flatten(other));
        let differs = |(key, value): (String, Value)| (before.get(&key) != Some(&value)).then_some(key);
        let exchanged = |key: &str| {
            RELOADABLE_KEYS.contains(&key) || RELOADABLE_SECTIONS.iter().any(|section| key.starts_with(section))
        };
        after.into_iter().filter(|(key, _)| !exchanged(key)).filter_map(differs).collect()
    }
}

/// Values by dotted key, lists whole.
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
