//! What makes two requests one invocation, as a hash.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub(super) type InvocationKey = [u8; 32];

/// A hash of these parts; where one ends and the next begins counts.
pub(super) fn hash_parts(parts: &[&[u8]]) -> InvocationKey {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The same text for equal arguments, in whatever order they came.
pub(super) fn canonical_json(arguments: &Map<String, Value>) -> String {
    let mut text = String::new();
    write_canonical_object(arguments, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => write_canonical_object(fields, text),
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

fn write_canonical_object(fields: &Map<String, Value>, text: &mut String) {
    let mut names: Vec<_> = fields.iter().collect();
    names.sort_unstable_by_key(|(name, _)| name.as_str());
    text.push('{');
    for (name, value) in names {
        text.push_str(&Value::String(name.clone()).to_string());
        text.push(':');
        write_canonical(value, text);
        text.push(',');
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let of = |text: &str| canonical_json(&serde_json::from_str(text).unwrap());
        assert_eq!(of(r#"{"b":[1,{"y":2,"x":1}],"a":"x"}"#), of(r#"{ "a":"x", "b":[1,{"x":1,"y":2}]}"#));
        assert_ne!(of(r#"{"b":[1,2]}"#), of(r#"{"b":[2,1]}"#));
        assert_ne!(hash_parts(&[b"ab", b"c"]), hash_parts(&[b"a", b"bc"]));
    }
}
