//! Formats durations, sizes and counts for the texts of alarms. Pure.

/// Formats a duration as `45 s`, `12 min`, `5 h` or `3 days`, rounded down.
pub(super) fn format_duration(ms: i64) -> String {
    match ms.max(0) / 1000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Formats a size as `850 MB` or `12.3 GB` (powers of 1000).
pub(super) fn format_bytes(bytes: u64) -> String {
    let megabytes = bytes / 1_000_000;
    if megabytes < 1_000 {
        format!("{megabytes} MB")
    } else {
        format!("{}.{} GB", megabytes / 1_000, megabytes % 1_000 / 100)
    }
}

/// Formats a count as `12`, or as `1000 or more` when counting stopped at `limit`.
pub(super) fn format_count(count: i64, limit: usize) -> String {
    if usize::try_from(count).is_ok_and(|count| count >= limit) {
        format!("{limit} or more")
    } else {
        count.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_and_counts_are_formatted() {
        assert_eq!(
            [0, 119_999, 120_000, 7_200_000, 200_000_000].map(format_duration),
            ["0 s", "119 s", "2 min", "2 h", "2 days"]
        );
        assert_eq!([999_999, 850_000_000, 12_345_678_901].map(format_bytes), ["0 MB", "850 MB", "12.3 GB"]);
        assert_eq!((format_count(3, 10), format_count(10, 10)), ("3".into(), "10 or more".into()));
    }
}
