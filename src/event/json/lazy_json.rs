//! Large parts of an event, stored as text and parsed on demand.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::from_json::{self, FromJson};
use crate::event::error::UnexpectedJsonType;

/// A value of type `T` that is stored as JSON text. A transcript makes up about nine tenths of a body, and most
/// handlers never read it. Therefore it is copied in one piece and parsed on demand. Any JSON value is accepted at
/// first: a wrong type is reported by [`parse`](Self::parse). The text is written back unchanged.
pub struct LazyJson<T> {
    raw: Box<RawValue>,
    // `fn() -> T` instead of `T`: no value of type `T` is owned, so `T` must not decide about Send and Sync.
    marker: PhantomData<fn() -> T>,
}

impl<T> LazyJson<T> {
    /// The JSON text, without whitespace around it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.raw.get()
    }
}

impl<T: FromJson> LazyJson<T> {
    /// Parses the text. The result is not cached: every call parses again.
    ///
    /// # Errors
    /// [`UnexpectedJsonType`] when the value cannot be parsed as `T`.
    pub fn parse(&self) -> Result<T, UnexpectedJsonType> {
        T::from_json(&self.raw).ok_or(UnexpectedJsonType)
    }
}

impl<T> From<Box<RawValue>> for LazyJson<T> {
    fn from(raw: Box<RawValue>) -> Self {
        Self { raw, marker: PhantomData }
    }
}

impl<T> Clone for LazyJson<T> {
    fn clone(&self) -> Self {
        self.raw.clone().into()
    }
}

impl<T> FromJson for LazyJson<T> {
    fn from_json(raw: &RawValue) -> Option<Self> {
        Some(raw.to_owned().into())
    }
}

impl<'de, T> Deserialize<'de> for LazyJson<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_json::deserialize(deserializer)
    }
}

impl<T> Serialize for LazyJson<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

/// Shows the size only: the text may contain what a caller said.
impl<T> fmt::Debug for LazyJson<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LazyJson({} bytes)", self.as_str().len())
    }
}
