//! Rotated files: `events.jsonl.20261121T101530.123Z`, named after the time (UTC) of the rotation.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::config::FileSettings;

const TIMESTAMP_FORMAT: &str = "%Y%m%dT%H%M%S%.3fZ";
const TIMESTAMP_LEN: usize = 20;

/// Renames the file, and deletes the oldest rotated files above `keep_files`.
pub(super) fn rotate(settings: &FileSettings, now_ms: i64) -> io::Result<()> {
    let mut rotated = list_rotated(&settings.path)?;
    // Always later than the latest rotated file, even if the clock was set back: the order of the names is the order
    // of the files, and an existing file is never overwritten.
    let at_ms = rotated.last().map_or(now_ms, |(latest_ms, _)| now_ms.max(latest_ms.saturating_add(1)));
    let target = rotated_path(&settings.path, at_ms);
    fs::rename(&settings.path, &target)?;
    rotated.push((at_ms, target));
    let excess = rotated.len().saturating_sub(settings.keep_files);
    for (_, old) in rotated.iter().take(excess) {
        // A failed deletion must not fail the delivery; the next rotation tries again.
        if let Err(error) = fs::remove_file(old) {
            tracing::warn!(path = %old.display(), %error, "rotated file not deleted");
        }
    }
    Ok(())
}

fn rotated_path(path: &Path, at_ms: i64) -> PathBuf {
    let time = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let mut name = path.as_os_str().to_owned();
    name.push(time.strftime(&format!(".{TIMESTAMP_FORMAT}")).to_string());
    name.into()
}

/// The rotated files of `path`, the oldest first. Files with other names, such as compressed copies, are left alone.
fn list_rotated(path: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(own_name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
    let mut rotated = Vec::new();
    for entry in fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let Some(suffix) = name.strip_prefix(own_name).and_then(|rest| rest.strip_prefix('.')) else { continue };
        if let Some(time_ms) = parse_timestamp(suffix) {
            rotated.push((time_ms, path.with_file_name(&name)));
        }
    }
    rotated.sort_unstable();
    Ok(rotated)
}

fn parse_timestamp(text: &str) -> Option<i64> {
    // `%.f` accepts any number of digits, so the length is checked as well.
    if text.len() != TIMESTAMP_LEN {
        return None;
    }
    let time = DateTime::strptime("%Y%m%dT%H%M%S%.fZ", text).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_hold_the_time() {
        let name = rotated_path(Path::new("data/a.jsonl"), 1_795_305_599_012);
        assert_eq!(name, Path::new("data/a.jsonl.20261121T235959.012Z"));
        assert_eq!(parse_timestamp("20261121T235959.012Z"), Some(1_795_305_599_012));
        for other in ["", "1", "gz", "20261121T235959Z", "20261121T235959.012Z.gz", "20261321T235959.012Z"] {
            assert_eq!(parse_timestamp(other), None, "{other}");
        }
    }
}
