//! Finds the valid key that somebody who wrote an unknown one most likely meant.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use super::{
    AskSettings, CompanySettings, FunctionSettings, HandlerSettings, InboundAnswerSettings, InboundRule, KeptDays,
    Settings,
};

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
    keys.extend(fields::<HandlerSettings>().iter().map(|key| format!("handlers.{key}")));
    keys.extend(fields::<FunctionSettings>().iter().map(|key| format!("functions.{key}")));
    keys.extend(fields::<InboundRule>().iter().map(|key| format!("inbound.rules.{key}")));
    keys.extend(fields::<InboundAnswerSettings>().iter().map(|key| format!("inbound.fallback.{key}")));
    keys.extend(fields::<AskSettings>().iter().map(|key| format!("inbound.rules.ask.{key}")));
    keys.extend(fields::<CompanySettings>().iter().map(|key| format!("companies.{key}")));
    keys.extend(fields::<KeptDays>().iter().map(|key| format!("companies.retention.{key}")));
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

/// The fields a struct is read from, as its `Deserialize` asks for them.
fn fields<T: Deserialize<'static>>() -> &'static [&'static str] {
    match T::deserialize(Asked) {
        Err(Fields(names)) => names,
        Ok(_) => &[],
    }
}

/// Answers the question for a struct with the names it was asked for.
struct Asked;

#[derive(Debug)]
struct Fields(&'static [&'static str]);

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Fields {}

impl serde::de::Error for Fields {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for Asked {
    type Error = Fields;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fields> {
        Err(Fields(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fields> {
        Err(Fields(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
