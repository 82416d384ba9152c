//! All valid keys, and the one that an unknown key most likely stands for.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::config::Settings;
use crate::config::sections::{
    AlarmSettings, AppointmentSettings, CompanySettings, DocsSettings, EgressSettings, FunctionSettings,
    HandlerSettings, InboundAnswerSettings, InboundAskSettings, InboundRuleSettings, InboundSettings, LogSettings,
    OpsSettings, RetellSettings, RetentionDays, RetentionSettings, SecuritySettings, ServerSettings, ServiceSettings,
    StorageSettings,
};

/// The valid key that is most similar to `unknown` (a dotted path without list positions), if any is similar.
pub(super) fn suggest_key(unknown: &str) -> Option<String> {
    let closeness = |key: &String| strsim::normalized_damerau_levenshtein(key, unknown);
    valid_keys().into_iter().filter(|key| closeness(key) > 0.75).max_by(|a, b| closeness(a).total_cmp(&closeness(b)))
}

/// A table of the settings and the names of its keys, in the order of the struct's fields.
pub(in crate::config) type TableKeys = (&'static str, &'static [&'static str]);

/// Every table of the settings, by its dotted path. Their order is the one of `config/default.toml` and of the
/// reference.
pub(in crate::config) fn tables() -> [TableKeys; 21] {
    [
        ("server", field_names::<ServerSettings>()),
        ("security", field_names::<SecuritySettings>()),
        ("retell", field_names::<RetellSettings>()),
        ("storage", field_names::<StorageSettings>()),
        ("retention", field_names::<RetentionSettings>()),
        ("log", field_names::<LogSettings>()),
        ("ops", field_names::<OpsSettings>()),
        ("alarms", field_names::<AlarmSettings>()),
        ("companies", field_names::<CompanySettings>()),
        ("companies.retention", field_names::<RetentionDays>()),
        ("appointments", field_names::<AppointmentSettings>()),
        ("appointments.services", field_names::<ServiceSettings>()),
        ("docs", field_names::<DocsSettings>()),
        ("egress", field_names::<EgressSettings>()),
        ("inbound", field_names::<InboundSettings>()),
        ("inbound.fallback", field_names::<InboundAnswerSettings>()),
        ("inbound.rules", field_names::<InboundRuleSettings>()),
        ("inbound.rules.ask", field_names::<InboundAskSettings>()),
        ("handlers", field_names::<HandlerSettings>()),
        ("functions", field_names::<FunctionSettings>()),
        ("", field_names::<Settings>()),
    ]
}

/// The dotted path of every key.
pub(in crate::config) fn valid_keys() -> Vec<String> {
    let dotted = |table: &str, key: &str| if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
    let tables = tables().into_iter();
    tables.flat_map(|(table, keys)| keys.iter().map(move |key| dotted(table, key))).collect()
}

/// The names of a struct's fields. A derived `Deserialize` passes them to the deserializer before it reads anything.
fn field_names<T: Deserialize<'static>>() -> &'static [&'static str] {
    match T::deserialize(FieldNamesDeserializer) {
        Err(FieldNames(names)) => names,
        Ok(_) => &[],
    }
}

/// Fails with the field names that a struct passes to `deserialize_struct`.
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
