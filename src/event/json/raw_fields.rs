//! Borrowing scan of one JSON object into a list of keys and raw values, without copying a value.
//!
//! `serde_json` skips a raw value with a loop instead of recursion, and checks neither the size of numbers nor the
//! pairing of surrogates. Deep nesting, `1e400` and `"\ud800"` therefore cause no error here, only where that single
//! value is parsed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::from_json::FromJson;
use super::json_object::JsonObject;
use super::valid_json::without_byte_order_mark;
use crate::event::error::EventParseError;

/// One member of an object: its decoded key and the text of its value.
pub(in crate::event) type RawField<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of one object in their original order, including duplicates.
#[derive(Default)]
pub(in crate::event) struct RawFields<'a>(pub(in crate::event) Vec<RawField<'a>>);

impl<'a> RawFields<'a> {
    /// Parses a whole body. This is the only place that decides whether a body is an event.
    pub(in crate::event) fn parse_body(body: &'a str) -> Result<Self, EventParseError> {
        Self::parse_text(body).map_err(|error| classify_parse_error(body, &error))
    }

    /// Parses a value; `None` when it is not an object.
    pub(in crate::event) fn parse_value(raw: &'a RawValue) -> Option<Self> {
        if !raw.get().starts_with('{') {
            return None;
        }
        Self::parse_text(raw.get()).ok()
    }

    /// Borrows the members of an object that was parsed before.
    pub(in crate::event) fn from_object(object: &'a JsonObject) -> Self {
        Self(object.iter().map(|(key, raw)| (Cow::Borrowed(key), raw)).collect())
    }

    fn parse_text(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The value of `key`; the last one when the key occurs more than once.
    pub(in crate::event) fn get_last(&self, key: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.0.iter().rfind(|(name, _)| name == key)?;
        Some(*raw)
    }

    /// Removes the first of `keys` whose value can be parsed as `T`; returns the key and the value.
    pub(in crate::event) fn take_first<T: FromJson>(&mut self, keys: &[&'static str]) -> Option<(&'static str, T)> {
        // Only a value that can be parsed is removed: any other stays among the fields and is written back.
        let (key, value) = keys.iter().find_map(|key| {
            let value = self.get_last(key).and_then(T::from_json)?;
            Some((*key, value))
        })?;
        self.0.retain(|(name, _)| name != key);
        Some((key, value))
    }
}

/// The body as text, without a byte order mark; an error when it is not valid UTF-8.
pub(in crate::event) fn body_as_str(body: &[u8]) -> Result<&str, EventParseError> {
    std::str::from_utf8(body).map(without_byte_order_mark).map_err(|_| EventParseError::InvalidUtf8)
}

/// Tells invalid JSON from valid JSON of another type. `serde_json` reports a wrong type before it has checked the
/// rest of the text, so the text is parsed once more.
fn classify_parse_error(body: &str, error: &serde_json::Error) -> EventParseError {
    let is_other_type = error.is_data() && serde_json::from_str::<IgnoredAny>(body).is_ok();
    if is_other_type {
        return EventParseError::NotObject;
    }
    EventParseError::InvalidJson { line: error.line(), column: error.column() }
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
        // The key is read raw as well: a key that is not valid Unicode must not make the whole object invalid.
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            fields.push((decode_key(key), value));
        }
        Ok(RawFields(fields))
    }
}

/// Decodes a key, with U+FFFD for an unpaired surrogate.
fn decode_key(raw: &RawValue) -> Cow<'_, str> {
    let quoted = raw.get();
    let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    String::from_json(raw).map_or(Cow::Borrowed(inner), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_json_and_other_types_are_distinguished() {
        let error = |body| RawFields::parse_body(body).err();
        assert_eq!(error("{}"), None);
        assert_eq!(error("[1]"), Some(EventParseError::NotObject));
        let missing_value = EventParseError::InvalidJson { line: 1, column: 6 };
        assert_eq!(error("{\"a\":}"), Some(missing_value));
        assert!(matches!(error("[1"), Some(EventParseError::InvalidJson { .. })));
        assert!(matches!(error("{} x"), Some(EventParseError::InvalidJson { .. })));
        assert!(matches!(error("{\"a\nb\":1}"), Some(EventParseError::InvalidJson { .. })));
    }

    #[test]
    fn keys_are_decoded_and_the_last_duplicate_wins() {
        let fields = RawFields::parse_body(r#"{"\u0061":1,"a":2,"\ud800":3}"#).unwrap();
        assert_eq!(fields.get_last("a").map(RawValue::get), Some("2"));
        assert_eq!(fields.get_last("\u{fffd}").map(RawValue::get), Some("3"));
    }
}
