//! Files that were put away: `events.jsonl.20261121T101530.123Z`, by the time (UTC) they were.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::config::FileSettings;

const TIMESTAMP_FORMAT: &str = "%Y%m%dT%H%M%S%.3fZ";
/// `20261121T101530.123Z`.
const TIMESTAMP_LEN: usize = 20;

/// Gives the file another name, and deletes the oldest of those that have one.
pub(super) fn rotate(settings: &FileSettings, now_ms: i64) -> io::Result<()> {
    let mut away = list_rotated(&settings.path)?;
    // Later than the latest, even if the clock was set back: the names are in the order of the files.
    let at_ms = away.last().map_or(now_ms, |(latest_ms, _)| now_ms.max(latest_ms.saturating_add(1)));
    let target = rotated_path(&settings.path, at_ms);
    fs::rename(&settings.path, &target)?;
    away.push((at_ms, target));
    for (_, old) in away.iter().take(away.len().saturating_sub(settings.keep_files)) {
        // It does not keep the line from being written; the next time tries again.
        if let Err(error) = fs::remove_file(old) {
            tracing::warn!(file = %old.display(), %error, "an old file of a handler cannot be deleted");
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

/// Those of this file, the oldest first, and nothing that somebody else put there.
fn list_rotated(path: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(own) = path.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let time = name.strip_prefix(own).and_then(|rest| rest.strip_prefix('.')).and_then(parse_timestamp);
        found.extend(time.map(|time| (time, path.with_file_name(&name))));
    }
    found.sort_unstable();
    Ok(found)
}

fn parse_timestamp(text: &str) -> Option<i64> {
    let time = DateTime::strptime("%Y%m%dT%H%M%S%.fZ", text).ok().filter(|_| text.len() == TIMESTAMP_LEN)?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_time() {
        let name = rotated_path(Path::new("data/a.jsonl"), 1_795_305_599_012);
        assert_eq!(name, Path::new("data/a.jsonl.20261121T235959.012Z"));
        assert_eq!(parse_timestamp("20261121T235959.012Z"), Some(1_795_305_599_012));
        for other in ["", "1", "gz", "20261121T235959Z", "20261121T235959.012Z.gz", "20261321T235959.012Z"] {
            assert_eq!(parse_timestamp(other), None, "{other}");
        }
    }
}
