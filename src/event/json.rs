//! One JSON value nobody gave a type.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::error::WrongShape;
use super::from_json::{self, FromJson};

/// A JSON value of any shape as its own text: metadata, custom analysis data, transfer options, filters.
#[derive(Clone, Default)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The JSON text, without space around it.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The same as a `RawValue`, for putting it into other JSON unchanged.
    #[must_use]
    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }

    /// Reads the value as `T`.
    ///
    /// # Errors
    /// [`WrongShape`] when it is no `T`. The cause is not passed on, because it can quote the value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, WrongShape> {
        serde_json::from_str(self.get()).map_err(|_| WrongShape)
    }
}

impl From<Box<RawValue>> for Json {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}

impl FromJson for Json {
    fn from_json(raw: &RawValue) -> Option<Self> {
        Some(Self(raw.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_json::deserialize(deserializer)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The size only.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.get().len())
    }
}
