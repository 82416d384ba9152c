//! Parses one value from its raw JSON text without turning a wrong type into an error.

use serde::de::{DeserializeOwned, Deserializer, Error};
use serde_json::value::RawValue;

use super::valid_json::valid_json;

/// A type that can be parsed from raw JSON. `None` means that the value has another type; the caller then keeps the
/// raw text.
///
/// This trait exists in addition to `serde::Deserialize` for speed: a value that stays raw text is copied once
/// instead of being scanned again at every level of nesting.
pub trait FromJson: Sized {
    /// Parses the value; `None` when it has another type.
    fn from_json(raw: &RawValue) -> Option<Self>;
}

/// An unpaired surrogate, such as half an emoji at the end of a text that was cut, becomes U+FFFD.
impl FromJson for String {
    fn from_json(raw: &RawValue) -> Option<Self> {
        if !raw.get().starts_with('"') {
            return None;
        }
        parse(raw.get())
    }
}

impl FromJson for bool {
    fn from_json(raw: &RawValue) -> Option<Self> {
        parse_strict(raw)
    }
}

impl FromJson for i64 {
    fn from_json(raw: &RawValue) -> Option<Self> {
        // As an integer, `-0` would be written back as `0`. As raw text it keeps its sign.
        if raw.get() == "-0" {
            return None;
        }
        parse_strict(raw)
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(raw: &RawValue) -> Option<Self> {
        let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        items.into_iter().map(T::from_json).collect()
    }
}

fn parse_strict<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// Parses JSON, with U+FFFD for unpaired surrogates.
pub(super) fn parse<T: DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).or_else(|_| serde_json::from_str(&valid_json(json.as_bytes()))).ok()
}

/// The `Deserialize` implementation of every type in this module. It works with the deserializers of `serde_json`
/// only, because no others can return raw JSON.
pub(in crate::event) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromJson,
    D: Deserializer<'de>,
{
    let raw: Box<RawValue> = serde::Deserialize::deserialize(deserializer)?;
    T::from_json(&raw).ok_or_else(|| D::Error::custom(crate::event::error::UnexpectedJsonType))
}
