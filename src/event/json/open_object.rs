//! Objects that stay open: typed fields for everything the contract names, raw JSON for everything else.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use super::from_json::FromJson;
use super::raw_fields::{RawField, RawFields};

/// Implemented by every struct that [`open_object!`] generates; the envelopes of events use it.
pub(in crate::event) trait OpenObject: Sized {
    /// Sorts the members into typed fields and the rest. Never fails: an unexpected value goes to the rest.
    fn from_fields(fields: RawFields<'_>) -> Self;

    /// Writes the typed fields, then the rest, into `map`.
    fn write_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

/// Parses the raw value of a known key. A null or a value of another type goes to `rest` unchanged, so that it is
/// written back and the other fields are still parsed.
pub(in crate::event) fn parse_field<'a, T: FromJson>(
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

/// The JSON key of a field: the field's name, or the given one (`type` cannot be a field name in Rust).
macro_rules! json_key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// Generates a struct of optional fields from their names and types.
///
/// ```text
/// open_object! {
///     /// Documentation of the struct.
///     pub struct Name
///     debug(call_id)                                      // fields whose value `Debug` may print
///     envelope(/** docs */ call: Call = ["call", "data"]) // envelopes only, see below
///     {
///         /// Documentation of the field.
///         pub field: Type,
///         pub kind: Type = "type",                        // a JSON key that differs from the field's name
///     }
/// }
/// ```
///
/// Every field becomes `Option<Type>`. The last field, `extra`, holds unknown members, explicit nulls and members of
/// an unexpected type as raw text. Of duplicate keys the last one wins. `Serialize` writes the typed fields, then
/// `extra` without the keys that are already written.
///
/// `envelope` adds one field that is not an `Option`: the object that the event is about. It is read from the first
/// of the keys that holds an object, and written back under the same key. When none does, it is empty and is not
/// written.
macro_rules! open_object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident
        $(debug($($shown:ident),*))?
        $(envelope($(#[$bmeta:meta])* $body:ident : $bty:ty = [$first:literal $(, $later:literal)*]))?
        { $($(#[$fmeta:meta])* pub $field:ident : $ty:ty $(= $key:literal)?,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Default)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$bmeta])* pub $body: $bty, found_key: Option<&'static str>,)?
            $($(#[$fmeta])* pub $field: Option<$ty>,)*
            /// All other members as raw JSON: unknown fields, explicit nulls, and fields whose value does not have
            /// the expected type.
            pub extra: $crate::event::json::json_object::JsonObject,
        }

        impl $name {
            /// Whether no field is set and `extra` is empty.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                $(self.$body.is_empty() &&)? $(self.$field.is_none() &&)* self.extra.is_empty()
            }

            /// The JSON keys of the typed fields that are set.
            fn present_fields(&self) -> impl Iterator<Item = &'static str> {
                [$(self.$field.is_some().then_some(json_key!($field $($key)?)),)*].into_iter().flatten()
            }

            /// Whether `key` is written from a typed field.
            fn is_written(&self, key: &str) -> bool {
                $(if self.envelope_key() == Some(key) {
                    let _ = &self.$body; // a macro repetition must use a variable that it repeats over
                    return true;
                })?
                match key {
                    $(json_key!($field $($key)?) => self.$field.is_some(),)*
                    _ => false,
                }
            }

            $(/// The key under which the envelope's object is written: the one it was read from, or the first one when
            /// the object was set later.
            fn envelope_key(&self) -> Option<&'static str> {
                self.found_key.or_else(|| (!self.$body.is_empty()).then_some($first))
            })?
        }

        impl $crate::event::json::open_object::OpenObject for $name {
            fn from_fields(fields: $crate::event::json::raw_fields::RawFields<'_>) -> Self {
                #[derive(Default)]
                struct RawFieldValues<'a> { $($field: Option<&'a serde_json::value::RawValue>,)* }

                $(let mut fields = fields;
                let (found_key, $body) = fields.take_first::<$bty>(&[$first $(, $later)*]).unzip();
                let $body = $body.unwrap_or_default();)?
                let mut values = RawFieldValues::default();
                let mut rest = Vec::new();
                for (key, raw) in fields.0 {
                    match key.as_ref() {
                        $(json_key!($field $($key)?) => values.$field = Some(raw),)*
                        _ => rest.push((key, raw)),
                    }
                }
                Self {
                    $($body, found_key,)?
                    $($field: $crate::event::json::open_object::parse_field(
                        json_key!($field $($key)?), values.$field, &mut rest,
                    ),)*
                    extra: $crate::event::json::json_object::JsonObject::from_fields(rest),
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

        impl $crate::event::json::from_json::FromJson for $name {
            fn from_json(raw: &serde_json::value::RawValue) -> Option<Self> {
                $crate::event::json::raw_fields::RawFields::parse_value(raw)
                    .map(<Self as $crate::event::json::open_object::OpenObject>::from_fields)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::event::json::from_json::deserialize(deserializer)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $crate::event::json::open_object::OpenObject::write_fields(self, &mut map)?;
                map.end()
            }
        }

        /// Shows which fields are set but not their values, which may contain what a caller said.
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

pub(in crate::event) use {json_key, open_object};
