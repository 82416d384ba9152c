/// Defines an enumeration whose values have names, under which they serialize and are printed.
macro_rules! named_values {
    ($(#[$attribute:meta])* $name:ident { $($(#[$value_attribute:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        pub(crate) enum $name {
            $($(#[$value_attribute])* #[serde(rename = $text)] $value,)+
        }

        impl $name {
            /// The name in JSON.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }
    };
}

pub(in crate::view) use named_values;
