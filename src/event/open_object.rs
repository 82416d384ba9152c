//! Objects that stay open: typed fields for what the contract names, raw JSON for everything else.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use super::from_json::FromJson;
use super::raw_fields::{RawField, RawFields};

/// What [`open_object!`] gives every struct it makes; the envelopes of events build on it.
pub(super) trait OpenObject: Sized {
    /// Sorts the members into typed fields and the rest. Never fails.
    fn from_fields(fields: RawFields<'_>) -> Self;

    /// Writes the typed fields, then the rest, into a map under way.
    fn write_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

/// Reads the raw value of a known key. A null or a value of another shape goes to `rest` as it is, so that it is
/// written back and does not spoil its neighbours.
pub(super) fn parse_field<'a, T: FromJson>(
    key: &'static str,
    raw: Option<&'a RawValue>,
    rest: &mut Vec<RawField<'a>>,
) -> Option<T> {
    let raw = raw?;
    let value = if raw.get() == "null" { None } else { T::from_json(raw) };
    if value.is_none() {
        rest.push((Cow::Borrowed(key), raw));
    }
    value
}

/// The JSON key of a field: its name unless another is given (`type` cannot be a field name).
macro_rules! json_key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// Makes a struct of optional fields out of the fields' names and types.
///
/// ```text
/// open_object! {
///     /// Documentation of the struct.
///     pub struct Name
///     shows(call_id)                                    // fields whose value `Debug` may print
///     carries(/** docs */ call: Call = ["call", "data"]) // only for envelopes, see below
///     {
///         /// Documentation of the field.
///         pub field: Type,
///         pub kind: Type = "type",                      // another key than the field's name
///     }
/// }
/// ```
///
/// Each field becomes `Option<Type>`; a last field `extra` holds unknown members, explicit nulls and members of an
/// unexpected type as raw text. Of duplicate keys the last one counts. Written back: typed fields, then `extra`
/// without the keys already written.
///
/// `carries` adds one field that is no `Option`: the object the envelope is about, read from the first of the keys
/// that holds one, and written back under the same key. When no key does, it is empty and is not written.
macro_rules! open_object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident
        $(shows($($shown:ident),*))?
        $(carries($(#[$bmeta:meta])* $body:ident : $bty:ty = [$first:literal $(, $later:literal)*]))?
        { $($(#[$fmeta:meta])* pub $field:ident : $ty:ty $(= $key:literal)?,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Default)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$bmeta])* pub $body: $bty, found_key: Option<&'static str>,)?
            $($(#[$fmeta])* pub $field: Option<$ty>,)*
            /// Everything else the object held, as raw JSON: unknown fields, explicit nulls, and fields whose value
            /// was not of the expected type.
            pub extra: $crate::event::json_object::JsonObject,
        }

        impl $name {
            /// Whether nothing at all is set.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                $(self.$body.is_empty() &&)? $(self.$field.is_none() &&)* self.extra.is_empty()
            }

            /// The names of the typed fields that are set.
            fn present_fields(&self) -> impl Iterator<Item = &'static str> {
                [$(self.$field.is_some().then_some(json_key!($field $($key)?)),)*].into_iter().flatten()
            }

            /// Whether `key` is written from a typed field.
            fn is_written(&self, key: &str) -> bool {
                $(if self.envelope_key() == Some(key) {
                    let _ = &self.$body; // a repetition has to name what it repeats over
                    return true;
                })?
                match key {
                    $(json_key!($field $($key)?) => self.$field.is_some(),)*
                    _ => false,
                }
            }

            $(/// The key the carried object is written under: where it came from, or today's key if it was filled
            /// in afterwards.
            fn envelope_key(&self) -> Option<&'static str> {
                self.found_key.or_else(|| (!self.$body.is_empty()).then_some($first))
            })?
        }

        impl $crate::event::open_object::OpenObject for $name {
            fn from_fields(fields: $crate::event::raw_fields::RawFields<'_>) -> Self {
                #[derive(Default)]
                struct RawFieldValues<'a> { $($field: Option<&'a serde_json::value::RawValue>,)* }

                $(let mut fields = fields;
                let (origin, $body) = fields.take_first::<$bty>(&[$first $(, $later)*]).unzip();
                let $body = $body.unwrap_or_default();)?
                let mut slots = RawFieldValues::default();
                let mut rest = Vec::new();
                for (key, raw) in fields.0 {
                    match key.as_ref() {
                        $(json_key!($field $($key)?) => slots.$field = Some(raw),)*
                        _ => rest.push((key, raw)),
                    }
                }
                Self {
                    $($body, found_key: origin,)?
                    $($field: $crate::event::open_object::parse_field(
                        json_key!($field $($key)?), slots.$field, &mut rest,
                    ),)*
                    extra: $crate::event::json_object::JsonObject::from_fields(rest),
                }
            }

            fn write_fields<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                $(if let Some(key) = self.envelope_key() {
                    map.serialize_entry(key, &self.$body)?;
                })?
                $(if let Some(value) = &self.$field {
                    map.serialize_entry(json_key!($field $($key)?), value)?;
                })*
                self.extra.write_remaining(map, |key| self.is_written(key))
            }
        }

        impl $crate::event::from_json::FromJson for $name {
            fn from_json(raw: &serde_json::value::RawValue) -> Option<Self> {
                $crate::event::raw_fields::RawFields::parse_value(raw)
                    .map(<Self as $crate::event::open_object::OpenObject>::from_fields)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::event::from_json::deserialize(deserializer)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $crate::event::open_object::OpenObject::write_fields(self, &mut map)?;
                map.end()
            }
        }

        /// Which fields there are, not what they hold: the values may be what a caller said.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut out = f.debug_struct(stringify!($name));
                $($(if let Some(value) = &self.$shown {
                    out.field(stringify!($shown), value);
                })*)?
                $(out.field(stringify!($body), &self.$body);)?
                out.field("present", &self.present_fields().collect::<Vec<_>>());
                out.field("extra", &self.extra).finish()
            }
        }
    };
}

pub(super) use {json_key, open_object};
