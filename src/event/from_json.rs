//! Reading one value out of its raw text, forgivingly.

use serde::de::{DeserializeOwned, Deserializer, Error};
use serde_json::value::RawValue;

/// A type that can be read from raw JSON. `None` means "another shape": the caller then keeps the raw text.
///
/// Beside `serde::Deserialize` this exists for speed: a value that is kept as text is copied once instead of being
/// scanned again at every level of nesting.
pub trait FromJson: Sized {
    /// Reads the value, or says that its shape is another.
    fn from_json(raw: &RawValue) -> Option<Self>;
}

impl FromJson for String {
    fn from_json(raw: &RawValue) -> Option<Self> {
        parse_strict(raw)
    }
}

impl FromJson for bool {
    fn from_json(raw: &RawValue) -> Option<Self> {
        parse_strict(raw)
    }
}

impl FromJson for i64 {
    fn from_json(raw: &RawValue) -> Option<Self> {
        // `-0` would be written back as `0`.
        parse_strict(raw).filter(|_| raw.get() != "-0")
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

/// The `Deserialize` of every type of this module. It works with the deserialisers of `serde_json` only, because
/// no other can hand out raw JSON.
pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromJson,
    D: Deserializer<'de>,
{
    let raw: Box<RawValue> = serde::Deserialize::deserialize(deserializer)?;
    T::from_json(&raw).ok_or_else(|| D::Error::custom(super::error::UnexpectedJsonType))
}
