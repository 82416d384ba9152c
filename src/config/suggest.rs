//! Finds the valid key that somebody who wrote an unknown one most likely meant.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::{
    CompanySettings, FunctionSettings, HandlerSettings, InboundAnswerSettings, InboundAskSettings, InboundRuleSettings,
    RetentionDays, Settings,
};

/// The valid key nearest to `unknown` (a dotted path without list positions), if any is near.
pub(super) fn suggest_key(unknown: &str) -> Option<String> {
    let closeness = |key: &String| strsim::normalized_damerau_levenshtein(key, unknown);
    valid_keys().into_iter().filter(|key| closeness(key) > 0.75).max_by(|a, b| closeness(a).total_cmp(&closeness(b)))
}

/// Every key there is: the defaults written out, which a test keeps complete.
pub(super) fn valid_keys() -> Vec<String> {
    let mut keys = Vec::new();
    if let Ok(tree) = serde_json::to_value(Settings::default()) {
        collect_keys("", &tree, &mut keys);
    }
    keys.extend(field_names::<HandlerSettings>().iter().map(|key| format!("handlers.{key}")));
    keys.extend(field_names::<FunctionSettings>().iter().map(|key| format!("functions.{key}")));
    keys.extend(field_names::<InboundRuleSettings>().iter().map(|key| format!("inbound.rules.{key}")));
    keys.extend(field_names::<InboundAnswerSettings>().iter().map(|key| format!("inbound.fallback.{key}")));
    keys.extend(field_names::<InboundAskSettings>().iter().map(|key| format!("inbound.rules.ask.{key}")));
    keys.extend(field_names::<CompanySettings>().iter().map(|key| format!("companies.{key}")));
    keys.extend(field_names::<RetentionDays>().iter().map(|key| format!("companies.retention.{key}")));
    keys
}

fn collect_keys(path: &str, tree: &Value, keys: &mut Vec<String>) {
    match tree {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect_keys(&path, value, keys);
            }
        }
        _ => keys.push(path.to_owned()),
    }
}

/// The fields a struct is read from, as its `Deserialize` asks for them.
fn field_names<T: Deserialize<'static>>() -> &'static [&'static str] {
    match T::deserialize(FieldNamesDeserializer) {
        Err(FieldNames(names)) => names,
        Ok(_) => &[],
    }
}

/// Answers the question for a struct with the names it was asked for.
struct FieldNamesDeserializer;

#[derive(Debug)]
struct FieldNames(&'static [&'static str]);

impl fmt::Display for FieldNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for FieldNames {}

impl serde::de::Error for FieldNames {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for FieldNamesDeserializer {
    type Error = FieldNames;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, FieldNames> {
        Err(FieldNames(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, FieldNames> {
        Err(FieldNames(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
