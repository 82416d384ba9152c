//! Text for people in results and errors.

use serde_json::Value;

/// Replaces control characters: text from outside could move the cursor or change colors of a terminal.
pub(crate) fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

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
        plain => plain.to_string().replace('\u{7f}', "\\u007f"),
    }
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
        assert_eq!(inline_toml(&value), r#"{ "$ref" = { b-c = true }, a = [1, "x\n\"y\""], e = {} }"#);
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(sanitize("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
