//! Lists that may also be written as one text with commas, which is all an environment variable can hold.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};

/// The texts of the list, trimmed; blank ones stay, so that they can be refused by name.
pub(super) fn deserialize_strings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct StringListVisitor;
    impl<'de> Visitor<'de> for StringListVisitor {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of texts, or one text with commas")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(split_commas(text))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                texts.push(text.trim().to_owned());
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_any(StringListVisitor)
}

/// Takes `"a, b"` apart.
pub(super) fn split_commas(text: &str) -> Vec<String> {
    text.split(',').map(|part| part.trim().to_owned()).collect()
}
