//! Lists of strings that may also be written as one string with commas, the only form an environment variable can hold.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::clean_text::clean_text;

/// What [`deserialize_strings`] accepts, for the JSON Schema of the settings.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
pub(in crate::config) enum StringList {
    List(Vec<String>),
    CommaSeparated(String),
}

/// Reads the strings of the list, without blanks and quotes around them. Blank entries stay, so that validation can
/// name them.
pub(in crate::config) fn deserialize_strings<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    struct StringListVisitor;
    impl<'de> Visitor<'de> for StringListVisitor {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of strings, or one string with commas")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(split_commas(text))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                texts.push(clean_text(&text).to_owned());
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_any(StringListVisitor)
}

/// Reads the strings of the list and parses each.
pub(in crate::config) fn deserialize_parsed<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    deserialize_strings(deserializer)?.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

/// Splits `"a, b"` into entries without blanks and quotes around them.
pub(in crate::config) fn split_commas(text: &str) -> Vec<String> {
    text.split(',').map(|part| clean_text(part).to_owned()).collect()
}
