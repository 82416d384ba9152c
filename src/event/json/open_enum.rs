//! Enums that stay open: a value that is not listed in the contract yet is kept as text.

/// Generates an open enum of strings: the listed variants and `Other`, with `as_str`, `From<&str>`, `Display`,
/// `Serialize` and `Deserialize`. A value that is not a string is an error, so that the field stays raw JSON.
macro_rules! open_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vmeta])* $variant,)*
            /// A value that this version does not know, unchanged.
            Other(Box<str>),
        }

        impl $name {
            /// All values that this version knows, as written in JSON.
            pub const KNOWN: &'static [&'static str] = &[$($text),*];

            /// The value as it is written in JSON.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    other => Self::Other(other.into()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::event::json::from_json::FromJson for $name {
            fn from_json(raw: &serde_json::value::RawValue) -> Option<Self> {
                <String as $crate::event::json::from_json::FromJson>::from_json(raw)
                    .map(|text| Self::from(text.as_str()))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::event::json::from_json::deserialize(deserializer)
            }
        }
    };
}

pub(in crate::event) use open_enum;
