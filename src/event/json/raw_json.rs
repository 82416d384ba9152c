//! JSON values without a fixed type.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::from_json::{self, FromJson};
use crate::event::error::UnexpectedJsonType;

/// A JSON value of any type, stored as its text: metadata, custom analysis data, transfer options, filters.
#[derive(Clone, Default)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// The JSON text, without whitespace around it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The value as a `RawValue`, to include it in other JSON unchanged.
    #[must_use]
    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }

    /// Parses the value as any type that implements `Deserialize`. An unpaired surrogate becomes U+FFFD.
    ///
    /// # Errors
    /// [`UnexpectedJsonType`] when the value cannot be parsed as `T`. The cause is not returned, because it can quote
    /// the value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, UnexpectedJsonType> {
        from_json::parse(self.as_str()).ok_or(UnexpectedJsonType)
    }
}

impl From<Box<RawValue>> for RawJson {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}

impl FromJson for RawJson {
    fn from_json(raw: &RawValue) -> Option<Self> {
        Some(Self(raw.to_owned()))
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_json::deserialize(deserializer)
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Shows the size only: the value may contain personal data.
impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.as_str().len())
    }
}
