//! Lengths of time and sizes for people. Pure.

/// `45 s`, `12 min`, `5 h`, `3 days`.
pub(super) fn format_duration(ms: i64) -> String {
    match ms.max(0) / 1000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// `850 MB`, `12.3 GB`.
pub(super) fn format_bytes(bytes: u64) -> String {
    let megabytes = bytes / 1_000_000;
    if megabytes < 1_000 {
        format!("{megabytes} MB")
    } else {
        format!("{}.{} GB", megabytes / 1_000, megabytes % 1_000 / 100)
    }
}

/// `12`, or `1000 or more` where counting stopped.
pub(super) fn format_count(count: i64, stopped_at: usize) -> String {
    if usize::try_from(count).is_ok_and(|count| count >= stopped_at) {
        format!("{stopped_at} or more")
    } else {
        count.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_sizes_and_counts_are_short() {
        assert_eq!(
            [0, 119_999, 120_000, 7_200_000, 200_000_000].map(format_duration),
            ["0 s", "119 s", "2 min", "2 h", "2 days"]
        );
        assert_eq!([999_999, 850_000_000, 12_345_678_901].map(format_bytes), ["0 MB", "850 MB", "12.3 GB"]);
        assert_eq!((format_count(3, 10), format_count(10, 10)), ("3".into(), "10 or more".into()));
    }
}
