//! Settings of `file` handlers with defaults filled in.

use std::path::{Component, Path, PathBuf};

use super::{HandlerKind, HandlerSettings};
use crate::config::FieldError;

const DEFAULT_ROTATE_BYTES: u64 = 100 * 1024 * 1024;
/// A smaller limit would start a new file for nearly every event.
const MIN_ROTATE_BYTES: u64 = 1024;
const DEFAULT_KEEP_FILES: u16 = 10;
const MAX_KEEP_FILES: u16 = 10_000;

/// The file of a `file` handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The file that lines are appended to.
    pub path: PathBuf,
    /// Size at which the file is rotated.
    pub rotate_bytes: u64,
    /// Number of rotated files that are kept.
    pub keep_files: usize,
}

impl HandlerSettings {
    /// The table's `file` settings with defaults filled in.
    ///
    /// # Errors
    /// The key with an invalid value, and the reason.
    pub fn file_settings(&self) -> Result<FileSettings, FieldError> {
        let invalid = |key, why: &str| Err(FieldError::new(key, why.to_owned()));
        let Some(path) = self.path.clone().filter(|path| path.file_name().is_some()) else {
            return invalid("path", "expected the path of a file, such as \"data/events.jsonl\"");
        };
        if path.to_str().is_none_or(|path| path.contains('\0') || path.ends_with('/')) {
            return invalid("path", "expected the path of a file, in UTF-8 and without NUL characters");
        }
        let rotate_bytes = self.rotate_bytes.unwrap_or(DEFAULT_ROTATE_BYTES);
        if rotate_bytes < MIN_ROTATE_BYTES {
            return invalid("rotate_bytes", "expected at least 1024 bytes");
        }
        let keep_files = self.keep_files.unwrap_or(DEFAULT_KEEP_FILES);
        if !(1..=MAX_KEEP_FILES).contains(&keep_files) {
            return invalid("keep_files", "expected 1 to 10000");
        }
        Ok(FileSettings { path, rotate_bytes, keep_files: keep_files.into() })
    }
}

/// The first handler that appends to the file of an earlier one, by their paths: its position, and the earlier one's
/// name. Two writers would cut off each other's lines.
pub(crate) fn find_shared_file(handlers: &[HandlerSettings]) -> Option<(usize, &str)> {
    let mut seen: Vec<(PathBuf, &str)> = Vec::new();
    for (position, handler) in handlers.iter().enumerate() {
        let Some(path) = handler.path.as_deref().filter(|_| handler.kind == HandlerKind::File) else { continue };
        let path = normalize_path(path);
        if let Some((_, earlier)) = seen.iter().find(|(other, _)| *other == path) {
            return Some((position, earlier));
        }
        seen.push((path, &handler.name));
    }
    None
}

/// The absolute path without `.` and `..`. Links are not resolved: the file may not exist yet.
fn normalize_path(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(path: &str) -> HandlerSettings {
        HandlerSettings { path: Some(path.into()), ..HandlerSettings::new("lines", HandlerKind::File) }
    }

    #[test]
    fn unset_keys_get_defaults() {
        let settings = table("data/a.jsonl").file_settings().unwrap();
        assert_eq!((settings.rotate_bytes, settings.keep_files), (104_857_600, 10));
    }

    #[test]
    fn invalid_values_are_refused_by_key() {
        for (table, key) in [
            (HandlerSettings::new("lines", HandlerKind::File), "path"),
            (table(""), "path"),
            (table("data/"), "path"),
            (table(".."), "path"),
            (HandlerSettings { rotate_bytes: Some(10), ..table("a") }, "rotate_bytes"),
            (HandlerSettings { keep_files: Some(0), ..table("a") }, "keep_files"),
        ] {
            assert_eq!(table.file_settings().unwrap_err().key(), key, "{:?}", table.path);
        }
    }

    #[test]
    fn two_handlers_of_one_file_are_found() {
        let here = std::path::absolute("data/a.jsonl").unwrap();
        for same in ["data/a.jsonl", "./data/x/../a.jsonl", here.to_str().unwrap()] {
            let tables = [table("data/a.jsonl"), table("data/b.jsonl"), table(same)];
            assert_eq!(find_shared_file(&tables), Some((2, "lines")), "{same}");
        }
        assert_eq!(find_shared_file(&[table("data/a.jsonl"), table("a.jsonl")]), None);
    }
}
