//! The borrowing scan: one JSON object as a list of keys and raw values, without copying a value.
//!
//! `serde_json` skips a raw value with a loop, not with recursion, and looks neither at the size of numbers nor at
//! the pairing of surrogates. So depth, `1e400` and `"\ud800"` are no concern here; they meet whoever reads that
//! one value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::EventParseError;
use super::from_json::FromJson;
use super::json_object::JsonObject;

/// One member of an object: its decoded key and the text of its value.
pub(super) type RawField<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of one object in the order they came, duplicates included.
#[derive(Default)]
pub(super) struct RawFields<'a>(pub(super) Vec<RawField<'a>>);

impl<'a> RawFields<'a> {
    /// Reads a whole body. The verdict on bodies is given here and nowhere else.
    pub(super) fn parse_body(body: &'a str) -> Result<Self, EventParseError> {
        Self::parse_text(body).map_err(|error| classify_parse_error(body, &error))
    }

    /// Reads a value; `None` when it is not an object.
    pub(super) fn parse_value(raw: &'a RawValue) -> Option<Self> {
        if !raw.get().starts_with('{') {
            return None;
        }
        Self::parse_text(raw.get()).ok()
    }

    /// The members of an object already read.
    pub(super) fn from_object(object: &'a JsonObject) -> Self {
        Self(object.iter().map(|(key, raw)| (Cow::Borrowed(key), raw)).collect())
    }

    fn parse_text(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The value of `key`; the last one when the key came more than once.
    pub(super) fn get_last(&self, key: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rfind(|(name, _)| name == key);
        found.map(|(_, raw)| *raw)
    }

    /// Takes the first of `keys` whose value reads as `T` out of the list, and says which key it was.
    pub(super) fn take_first<T: FromJson>(&mut self, keys: &[&'static str]) -> Option<(&'static str, T)> {
        let (key, value) = keys.iter().find_map(|key| {
            let value = self.get_last(key).and_then(T::from_json)?;
            Some((*key, value))
        })?;
        self.0.retain(|(name, _)| name != key);
        Some((key, value))
    }
}

/// The bytes as text, or the verdict that they are none.
pub(super) fn body_as_str(body: &[u8]) -> Result<&str, EventParseError> {
    std::str::from_utf8(body).map_err(|_| EventParseError::InvalidUtf8)
}

/// A refused body is either broken JSON or sound JSON of another type; the second look tells which.
fn classify_parse_error(body: &str, error: &serde_json::Error) -> EventParseError {
    let other_type = error.is_data() && serde_json::from_str::<IgnoredAny>(body).is_ok();
    if other_type {
        return EventParseError::NotObject;
    }
    let (line, column) = (error.line(), error.column());
    EventParseError::InvalidJson { line, column }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawFieldsVisitor)
    }
}

struct RawFieldsVisitor;

impl<'de> Visitor<'de> for RawFieldsVisitor {
    type Value = RawFields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        // The key is taken raw as well: one that is no Unicode text must not cost the object.
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            fields.push((decode_key(key), value));
        }
        Ok(RawFields(fields))
    }
}

/// Decodes a key. A key with an unpaired surrogate is no text; its escaped spelling stands for it.
fn decode_key(raw: &RawValue) -> Cow<'_, str> {
    let quoted = raw.get();
    let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str(quoted).map_or(Cow::Borrowed(inner), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let verdict = |body| RawFields::parse_body(body).err();
        assert_eq!(verdict("{}"), None);
        assert_eq!(verdict("[1]"), Some(EventParseError::NotObject));
        let broken = EventParseError::InvalidJson { line: 1, column: 6 };
        assert_eq!(verdict("{\"a\":}"), Some(broken));
        assert!(matches!(verdict("[1"), Some(EventParseError::InvalidJson { .. })));
        assert!(matches!(verdict("{} x"), Some(EventParseError::InvalidJson { .. })));
        assert!(matches!(verdict("{\"a\nb\":1}"), Some(EventParseError::InvalidJson { .. })));
    }

    #[test]
    fn keys_are_decoded_and_the_last_duplicate_wins() {
        let fields = RawFields::parse_body(r#"{"\u0061":1,"a":2,"\ud800":3}"#).unwrap();
        assert_eq!(fields.get_last("a").map(RawValue::get), Some("2"));
        assert_eq!(fields.get_last(r"\ud800").map(RawValue::get), Some("3"));
    }
}
