//! Text for people in results and errors.

use std::fmt::Write;

use serde_json::Value;

use crate::base::escape::is_deceptive;

/// `549 B`, `8.6 kB`, `1.2 MB`, `43.3 GB`.
#[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(crate) fn format_bytes(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Formats a JSON value as TOML on one line. TOML has no null, so null is left out of tables and lists.
pub(crate) fn inline_toml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields: Vec<_> =
                fields.map(|(name, value)| format!("{} = {}", toml_key(name), inline_toml(value))).collect();
            format!("{{ {} }}", fields.join(", ")).replace("{  }", "{}")
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter(|item| !item.is_null()).map(inline_toml).collect();
            format!("[{}]", items.join(", "))
        }
        // JSON strings and numbers are valid TOML, except that TOML also requires DEL to be escaped.
        plain => escape_toml(&plain.to_string()),
    }
}

/// Like [`escape_json`](crate::base::escape::escape_json): TOML has `\U` instead of surrogate pairs.
fn escape_toml(literal: &str) -> String {
    let mut escaped = String::with_capacity(literal.len());
    for c in literal.chars() {
        // Writing into a `String` cannot fail.
        let _ = match u32::from(c) {
            _ if !is_deceptive(c) => escaped.write_char(c),
            code @ ..=0xffff => write!(escaped, "\\u{code:04x}"),
            code => write!(escaped, "\\U{code:08x}"),
        };
    }
    escaped
}

fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { name.to_owned() } else { inline_toml(&Value::String(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!([format_bytes(549), format_bytes(8_600), format_bytes(1_234_567)], ["549 B", "8.6 kB", "1.2 MB"]);
    }

    #[test]
    fn json_values_are_formatted_as_inline_toml() {
        let value = serde_json::json!({"a": [1, "x\n\"y\""], "$ref": {"b-c": true, "none": null}, "e": {}});
        let deceptive = Value::String("a\u{7f}\u{202e}\u{e0041}".into());
        assert_eq!(inline_toml(&deceptive), r#""a\u007f\u202e\U000e0041""#);
        assert_eq!(inline_toml(&value), r#"{ "$ref" = { b-c = true }, a = [1, "x\n\"y\""], e = {} }"#);
    }
}
