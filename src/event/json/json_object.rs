//! JSON objects whose values stay raw text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::from_json::{self, FromJson};
use super::raw_fields::{RawField, RawFields};

/// A JSON object as an ordered list of keys and raw JSON values. Of duplicate keys only the last one is kept.
///
/// Values are written back unchanged: numbers keep their digits. A lookup scans the list, because these objects have
/// only a few members.
#[derive(Clone, Default)]
pub struct JsonObject(Vec<(Box<str>, Box<RawValue>)>);

impl JsonObject {
    /// The raw value of `key`; `None` when it is absent.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.iter().find(|(name, _)| *name == key).map(|(_, raw)| raw)
    }

    /// The value of `key` parsed as `T`; `None` when it is absent or has another type.
    #[must_use]
    pub fn get_as<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        from_json::parse(self.get(key)?.get())
    }

    /// The value of `key` as text: a string is decoded, any other value except null is returned as its JSON. Meant
    /// for maps that hold strings by contract but not always in practice, such as dynamic variables.
    #[must_use]
    pub fn get_text(&self, key: &str) -> Option<Cow<'_, str>> {
        let raw = self.get(key)?;
        if raw.get() == "null" {
            return None;
        }
        Some(String::from_json(raw).map_or(Cow::Borrowed(raw.get()), Cow::Owned))
    }

    /// The members in their original order.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, raw)| (&**key, &**raw))
    }

    /// Number of members, without duplicates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the object has no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::event) fn from_fields(mut fields: Vec<RawField<'_>>) -> Self {
        drop_earlier_duplicates(&mut fields);
        let owned = fields.into_iter().map(|(key, raw)| (key.into(), raw.to_owned()));
        Self(owned.collect())
    }

    /// Writes all members into `map`, except those for which `is_written` returns true.
    pub(in crate::event) fn write_remaining<M: SerializeMap>(
        &self,
        map: &mut M,
        is_written: impl Fn(&str) -> bool,
    ) -> Result<(), M::Error> {
        for (key, raw) in self.iter() {
            if !is_written(key) {
                map.serialize_entry(key, raw)?;
            }
        }
        Ok(())
    }
}

/// Removes all but the last of equal keys. It uses a set instead of comparing every pair, because a body of 1 MB can
/// hold 100,000 keys.
fn drop_earlier_duplicates(fields: &mut Vec<RawField<'_>>) {
    if fields.len() < 2 {
        return;
    }
    let mut seen = HashSet::with_capacity(fields.len());
    // Walked from the end, the first occurrence of a key is the one that counts.
    let is_last: Vec<bool> = fields.iter().rev().map(|(key, _)| seen.insert(key.as_ref())).collect();
    if is_last.contains(&false) {
        let mut keep = is_last.iter().rev();
        fields.retain(|_| keep.next() == Some(&true));
    }
}

impl FromIterator<(String, Box<RawValue>)> for JsonObject {
    fn from_iter<I: IntoIterator<Item = (String, Box<RawValue>)>>(members: I) -> Self {
        let owned: Vec<_> = members.into_iter().collect();
        let borrowed = owned.iter().map(|(key, raw)| (Cow::Borrowed(key.as_str()), &**raw));
        Self::from_fields(borrowed.collect())
    }
}

impl FromJson for JsonObject {
    fn from_json(raw: &RawValue) -> Option<Self> {
        RawFields::parse_value(raw).map(|fields| Self::from_fields(fields.0))
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_json::deserialize(deserializer)
    }
}

impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        self.write_remaining(&mut map, |_| false)?;
        map.end()
    }
}

/// Shows keys and sizes only: values may contain what a caller said.
impl fmt::Debug for JsonObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.iter().map(|(key, raw)| (key, raw.get().len()));
        f.debug_map().entries(sizes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> JsonObject {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn last_duplicate_wins_and_numbers_keep_their_digits() {
        let parsed = object(r#"{"a":1,"b":1.50e400,"a":null}"#);
        assert_eq!(serde_json::to_string(&parsed).unwrap(), r#"{"b":1.50e400,"a":null}"#);
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed.get_as::<f64>("b"), None);
    }

    #[test]
    fn many_keys_do_not_take_quadratic_time() {
        let keys: Vec<_> = (0..100_000).map(|n| format!("\"{n}\":{n}")).collect();
        assert_eq!(object(&format!("{{{},{}}}", keys.join(","), keys.join(","))).len(), 100_000);
    }

    #[test]
    fn get_text_returns_other_types_as_json() {
        let parsed = object(r#"{"s":"x\ny","n":7,"z":null,"bad":"\ud800"}"#);
        let texts = ["s", "n", "z", "bad"].map(|key| parsed.get_text(key).map(Cow::into_owned));
        assert_eq!(texts[0].as_deref(), Some("x\ny"));
        assert_eq!(texts[1].as_deref(), Some("7"));
        assert_eq!(texts[2], None);
        assert_eq!(texts[3].as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn debug_hides_values() {
        assert_eq!(format!("{:?}", object(r#"{"to":"+12025550100"}"#)), r#"{"to": 14}"#);
    }
}
