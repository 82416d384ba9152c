//! A JSON object whose values stay raw text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::from_json::{self, FromJson};
use super::raw_fields::{RawField, RawFields};

/// An ordered list of keys and raw JSON values. A key that came twice is held once, with its last value.
///
/// Values are written back exactly as they came: numbers keep their digits. Look-up is a walk along the list;
/// these objects have a handful of members.
#[derive(Clone, Default)]
pub struct JsonObject(Vec<(Box<str>, Box<RawValue>)>);

impl JsonObject {
    /// The raw value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.iter().find(|(name, _)| *name == key).map(|(_, raw)| raw)
    }

    /// The value of `key` read as `T`; `None` when it is absent or of another shape.
    #[must_use]
    pub fn get_as<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }

    /// The value of `key` as text: a string decoded, anything else but null as its JSON. For maps that promise
    /// strings and do not always keep the promise, such as dynamic variables.
    #[must_use]
    pub fn get_text(&self, key: &str) -> Option<Cow<'_, str>> {
        let raw = self.get(key)?;
        if raw.get() == "null" {
            return None;
        }
        Some(String::from_json(raw).map_or(Cow::Borrowed(raw.get()), Cow::Owned))
    }

    /// The members in the order they came.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, raw)| (&**key, &**raw))
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn from_fields(mut fields: Vec<RawField<'_>>) -> Self {
        drop_earlier_duplicates(&mut fields);
        let owned = fields.into_iter().map(|(key, raw)| (key.into(), raw.to_owned()));
        Self(owned.collect())
    }

    /// Writes the members that `written` does not claim into a map under way.
    pub(super) fn write_remaining<M: SerializeMap>(
        &self,
        map: &mut M,
        written: impl Fn(&str) -> bool,
    ) -> Result<(), M::Error> {
        let rest = self.iter().filter(|(key, _)| !written(key));
        rest.into_iter().try_for_each(|(key, raw)| map.serialize_entry(key, raw))
    }
}

/// Drops all but the last of equal keys. By a set, not by comparing each with each: a body of 1 MB has room for
/// 100,000 keys.
fn drop_earlier_duplicates(fields: &mut Vec<RawField<'_>>) {
    if fields.len() < 2 {
        return;
    }
    let mut seen = HashSet::with_capacity(fields.len());
    let last: Vec<bool> = fields.iter().rev().map(|(key, _)| seen.insert(key.as_ref())).collect();
    if last.contains(&false) {
        let mut keep = last.iter().rev();
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

/// Keys and sizes only: values may be what a caller said.
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
        let it = object(r#"{"a":1,"b":1.50e400,"a":null}"#);
        assert_eq!(serde_json::to_string(&it).unwrap(), r#"{"b":1.50e400,"a":null}"#);
        assert_eq!(it.len(), 2);
        assert_eq!(it.get_as::<f64>("b"), None);
    }

    #[test]
    fn many_keys_do_not_take_quadratic_time() {
        let keys: Vec<_> = (0..100_000).map(|n| format!("\"{n}\":{n}")).collect();
        assert_eq!(object(&format!("{{{},{}}}", keys.join(","), keys.join(","))).len(), 100_000);
    }

    #[test]
    fn text_coerces() {
        let it = object(r#"{"s":"x\ny","n":7,"z":null,"bad":"\ud800"}"#);
        let texts = ["s", "n", "z", "bad"].map(|key| it.get_text(key).map(Cow::into_owned));
        assert_eq!(texts[0].as_deref(), Some("x\ny"));
        assert_eq!(texts[1].as_deref(), Some("7"));
        assert_eq!(texts[2], None);
        assert_eq!(texts[3].as_deref(), Some(r#""\ud800""#));
    }

    #[test]
    fn debug_hides_values() {
        assert_eq!(format!("{:?}", object(r#"{"to":"+12025550100"}"#)), r#"{"to": 14}"#);
    }
}
