//! The services that can be booked: `appointments.services`.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::config::values::string_list;

/// One service that can be booked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
pub struct ServiceSettings {
    /// Name of the service as agents say it, 1 to 100 bytes.
    #[schemars(example = &"Filling")]
    pub name: String,
    /// Duration in minutes, a multiple of 5. Unset: `slot_minutes`.
    #[serde(default)]
    #[schemars(example = &60)]
    pub duration_minutes: Option<u16>,
}

/// Reduces the name of a service or a person to what counts in comparisons: `Check-up` and `check up` are the same service.
#[must_use]
pub(crate) fn normalize_name(name: &str) -> String {
    name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect()
}

/// What [`deserialize_services`] accepts, for the JSON Schema of the settings.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
pub(super) enum ServiceList {
    List(Vec<NameOrService>),
    CommaSeparated(String),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
pub(super) enum NameOrService {
    Name(String),
    Service(ServiceSettings),
}

/// Reads a list of names and tables, or one string with commas. Written by hand: an untagged enum would hide the name
/// of an unknown key in a table.
pub(super) fn deserialize_services<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ServiceSettings>, D::Error> {
    struct ServiceListVisitor;
    impl<'de> Visitor<'de> for ServiceListVisitor {
        type Value = Vec<ServiceSettings>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of names and tables, or one string with commas")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(string_list::split_commas(text)
                .into_iter()
                .filter(|name| !name.is_empty())
                .map(service_without_duration)
                .collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut services = Vec::new();
            while let Some(ServiceEntry(service)) = list.next_element()? {
                services.push(service);
            }
            Ok(services)
        }
    }
    deserializer.deserialize_any(ServiceListVisitor)
}

/// One element of the list: a name, or a table.
struct ServiceEntry(ServiceSettings);

impl<'de> Deserialize<'de> for ServiceEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ServiceEntryVisitor;
        impl<'de> Visitor<'de> for ServiceEntryVisitor {
            type Value = ServiceSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or a table with `name` and `duration_minutes`")
            }

            fn visit_str<E>(self, name: &str) -> Result<ServiceSettings, E> {
                Ok(service_without_duration(name.trim().to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<ServiceSettings, A::Error> {
                ServiceSettings::deserialize(MapAccessDeserializer::new(table))
            }
        }
        deserializer.deserialize_any(ServiceEntryVisitor).map(Self)
    }
}

fn service_without_duration(name: String) -> ServiceSettings {
    ServiceSettings { name, duration_minutes: None }
}

#[cfg(test)]
mod tests {
    use super::super::AppointmentSettings;
    use super::*;

    #[test]
    fn services_are_names_or_tables() {
        let read = |text: &str| serde_json::from_str::<AppointmentSettings>(text).unwrap().services;
        let service = |name: &str, minutes| ServiceSettings { name: name.into(), duration_minutes: minutes };
        assert_eq!(read(r#"{"services": "a, b"}"#), [service("a", None), service("b", None)]);
        let mixed = read(r#"{"services": ["a", {"name": "b", "duration_minutes": 60}]}"#);
        assert_eq!(mixed, [service("a", None), service("b", Some(60))]);
    }
}
