//! What differs between two readings of the settings.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Settings;

/// Exchanged while the receiver runs; everything else takes a restart.
const RELOADED: [&str; 4] = ["companies", "functions", "handlers", "security.keys"];
/// Sections that are looked up each time, followed, or exchanged whole.
const LOOKED_UP: [&str; 3] = ["alarms.", "inbound.", "retention."];

impl Settings {
    /// The keys whose values differ and that a running receiver does not exchange, such as `server.port`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (before, after) = (flat(self), flat(other));
        let differs = |(key, value): (String, Value)| (before.get(&key) != Some(&value)).then_some(key);
        let exchanged = |key: &str| RELOADED.contains(&key) || LOOKED_UP.iter().any(|section| key.starts_with(section));
        after.into_iter().filter(|(key, _)| !exchanged(key)).filter_map(differs).collect()
    }
}

/// Values by dotted key, lists whole.
fn flat(settings: &Settings) -> BTreeMap<String, Value> {
    fn collect(path: &str, value: Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    collect(&if path.is_empty() { name } else { format!("{path}.{name}") }, value, into);
                }
            }
            value => drop(into.insert(path.to_owned(), value)),
        }
    }
    let mut values = BTreeMap::new();
    if let Ok(tree) = serde_json::to_value(settings) {
        collect("", tree, &mut values);
    }
    values
}
