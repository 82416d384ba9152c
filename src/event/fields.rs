//! The borrowing scan: one JSON object as a list of keys and raw values, without copying a value.
//!
//! `serde_json` skips a raw value with a loop, not with recursion, and looks neither at the size of numbers nor at
//! the pairing of surrogates. So depth, `1e400` and `"\ud800"` are no concern here; they meet whoever reads that
//! one value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::Unparsed;
use super::from_json::FromJson;
use super::object::Object;

/// One member of an object: its decoded key and the text of its value.
pub(super) type Field<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of one object in the order they came, duplicates included.
#[derive(Default)]
pub(super) struct Fields<'a>(pub(super) Vec<Field<'a>>);

impl<'a> Fields<'a> {
    /// Reads a whole body. The verdict on bodies is given here and nowhere else.
    pub(super) fn of_body(body: &'a str) -> Result<Self, Unparsed> {
        Self::of_text(body).map_err(|error| verdict(body, &error))
    }

    /// Reads a value; `None` when it is not an object.
    pub(super) fn of_value(raw: &'a RawValue) -> Option<Self> {
        if !raw.get().starts_with('{') {
            return None;
        }
        Self::of_text(raw.get()).ok()
    }

    /// The members of an object already read.
    pub(super) fn of_object(object: &'a Object) -> Self {
        Self(object.iter().map(|(key, raw)| (Cow::Borrowed(key), raw)).collect())
    }

    fn of_text(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The value of `key`; the last one when the key came more than once.
    pub(super) fn last(&self, key: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rfind(|(name, _)| name == key);
        found.map(|(_, raw)| *raw)
    }

    /// Takes the first of `keys` whose value reads as `T` out of the list, and says which key it was.
    pub(super) fn take<T: FromJson>(&mut self, keys: &[&'static str]) -> Option<(&'static str, T)> {
        let (key, value) = keys.iter().find_map(|key| {
            let value = self.last(key).and_then(T::from_json)?;
            Some((*key, value))
        })?;
        self.0.retain(|(name, _)| name != key);
        Some((key, value))
    }
}

/// The bytes as text, or the verdict that they are none.
pub(super) fn utf8(body: &[u8]) -> Result<&str, Unparsed> {
    std::str::from_utf8(body).map_err(|_| Unparsed::NotUtf8)
}

/// A refused body is either broken JSON or sound JSON of another type; the second look tells which.
fn verdict(body: &str, error: &serde_json::Error) -> Unparsed {
    let other_type = error.is_data() && serde_json::from_str::<IgnoredAny>(body).is_ok();
    if other_type {
        return Unparsed::NotObject;
    }
    let (line, column) = (error.line(), error.column());
    Unparsed::NotJson { line, column }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        // The key is taken raw as well: one that is no Unicode text must not cost the object.
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            fields.push((key_text(key), value));
        }
        Ok(Fields(fields))
    }
}

/// Decodes a key. A key with an unpaired surrogate is no text; its escaped spelling stands for it.
fn key_text(raw: &RawValue) -> Cow<'_, str> {
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
        let verdict = |body| Fields::of_body(body).err();
        assert_eq!(verdict("{}"), None);
        assert_eq!(verdict("[1]"), Some(Unparsed::NotObject));
        let broken = Unparsed::NotJson { line: 1, column: 6 };
        assert_eq!(verdict("{\"a\":}"), Some(broken));
        assert!(matches!(verdict("[1"), Some(Unparsed::NotJson { .. })));
        assert!(matches!(verdict("{} x"), Some(Unparsed::NotJson { .. })));
        assert!(matches!(verdict("{\"a\nb\":1}"), Some(Unparsed::NotJson { .. })));
    }

    #[test]
    fn keys_are_decoded_and_the_last_duplicate_wins() {
        let fields = Fields::of_body(r#"{"\u0061":1,"a":2,"\ud800":3}"#).unwrap();
        assert_eq!(fields.last("a").map(RawValue::get), Some("2"));
        assert_eq!(fields.last(r"\ud800").map(RawValue::get), Some("3"));
    }
}
