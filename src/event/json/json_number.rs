//! JSON numbers that keep their original digits.

use std::fmt;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::from_json::{self, FromJson};

/// A JSON number, stored as its text. `0.10` stays `0.10` and `1e400` stays `1e400` when it is written back. The
/// methods convert it on demand.
#[derive(Clone)]
pub struct JsonNumber(Box<RawValue>);

impl JsonNumber {
    /// The number as it was written in the JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The nearest `f64`; `None` when the number is out of its range.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        let nearest: f64 = self.as_str().parse().ok()?;
        nearest.is_finite().then_some(nearest)
    }

    /// The value as `i64`; `None` when the text is not a plain integer (`2.0` is not one) or is out of range.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.as_str().parse().ok()
    }

    /// The value as `u64`; `None` when the text is not a plain integer, is negative or is out of range.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.as_str().parse().ok()
    }
}

impl FromJson for JsonNumber {
    fn from_json(raw: &RawValue) -> Option<Self> {
        // The text is valid JSON, so its first character tells a number from every other type.
        let is_number = raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
        is_number.then(|| Self(raw.to_owned()))
    }
}

impl<'de> Deserialize<'de> for JsonNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_json::deserialize(deserializer)
    }
}

impl Serialize for JsonNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Compares the texts: `1` and `1.0` are different.
impl PartialEq for JsonNumber {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for JsonNumber {}

impl fmt::Display for JsonNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for JsonNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(json: &str) -> Option<JsonNumber> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn numbers_keep_their_text() {
        for text in ["0.10", "-0", "1E+2", "1e400", "123456789012345678901234567890"] {
            let written = serde_json::to_string(&number(text).unwrap()).unwrap();
            assert_eq!(written, text);
        }
    }

    #[test]
    fn conversions_return_none_out_of_range() {
        let negative = number("-7").unwrap();
        assert_eq!((negative.as_i64(), negative.as_u64(), negative.as_f64()), (Some(-7), None, Some(-7.0)));
        assert_eq!(number("1e400").unwrap().as_f64(), None);
    }

    #[test]
    fn other_json_types_are_not_numbers() {
        for text in ["\"1\"", "null", "true", "[]"] {
            assert_eq!(number(text), None);
        }
    }
}
