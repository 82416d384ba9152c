//! Text for people in results and errors.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!([format_bytes(549), format_bytes(8_600), format_bytes(1_234_567)], ["549 B", "8.6 kB", "1.2 MB"]);
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(sanitize("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
