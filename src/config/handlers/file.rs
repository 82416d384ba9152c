//! What `file` needs, with the defaults filled in.

use std::path::{Component, Path, PathBuf};

use super::{HandlerKind, HandlerSettings};

const DEFAULT_ROTATE_BYTES: u64 = 100 * 1024 * 1024;
/// Below it every other event would begin a file.
const MIN_ROTATE_BYTES: u64 = 1024;
const DEFAULT_KEEP_FILES: u16 = 10;
const MAX_KEEP_FILES: u16 = 10_000;

/// The file of a `file` handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The file lines are appended to.
    pub path: PathBuf,
    /// At which size it is put away and begun anew.
    pub rotate_bytes: u64,
    /// How many that were put away are kept.
    pub keep_files: usize,
}

impl HandlerSettings {
    /// What the table says to `file`.
    ///
    /// # Errors
    /// The key that is refused, and why.
    pub fn file_settings(&self) -> Result<FileSettings, (&'static str, String)> {
        let refused = |key, why: &str| Err((key, why.to_owned()));
        let Some(path) = self.path.clone().filter(|path| path.file_name().is_some()) else {
            return refused("path", "expected the path of a file, such as \"data/events.jsonl\"");
        };
        if path.to_str().is_none_or(|path| path.contains('\0') || path.ends_with('/')) {
            return refused("path", "expected the path of a file, in UTF-8 and without NUL");
        }
        let rotate_bytes = self.rotate_bytes.unwrap_or(DEFAULT_ROTATE_BYTES);
        if rotate_bytes < MIN_ROTATE_BYTES {
            return refused("rotate_bytes", "expected at least 1024 bytes");
        }
        let keep_files = self.keep_files.unwrap_or(DEFAULT_KEEP_FILES);
        if !(1..=MAX_KEEP_FILES).contains(&keep_files) {
            return refused("keep_files", "expected 1 to 10000");
        }
        Ok(FileSettings { path, rotate_bytes, keep_files: keep_files.into() })
    }
}

/// The first two handlers that append to one file, as far as their paths tell.
pub(in crate::config) fn find_shared_file(handlers: &[HandlerSettings]) -> Option<(usize, &str)> {
    let files = || handlers.iter().enumerate().filter(|(_, handler)| handler.kind == HandlerKind::File);
    files().find_map(|(position, handler)| {
        let path = normalize_path(handler.path.as_deref()?);
        let same = |(_, earlier): &(usize, &HandlerSettings)| {
            earlier.path.as_deref().map(normalize_path).as_ref() == Some(&path)
        };
        files().take_while(|(earlier, _)| *earlier < position).find(same).map(|(_, earlier)| (position, &*earlier.name))
    })
}

/// Without `.` and `..`, from the root on.
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
    fn what_is_not_set_is_filled_in() {
        let settings = table("data/a.jsonl").file_settings().unwrap();
        assert_eq!((settings.rotate_bytes, settings.keep_files), (104_857_600, 10));
    }

    #[test]
    fn mistakes_are_refused_by_their_key() {
        for (table, key) in [
            (HandlerSettings::new("lines", HandlerKind::File), "path"),
            (table(""), "path"),
            (table("data/"), "path"),
            (table(".."), "path"),
            (HandlerSettings { rotate_bytes: Some(10), ..table("a") }, "rotate_bytes"),
            (HandlerSettings { keep_files: Some(0), ..table("a") }, "keep_files"),
        ] {
            assert_eq!(table.file_settings().unwrap_err().0, key, "{:?}", table.path);
        }
    }

    #[test]
    fn one_file_has_one_handler() {
        let here = std::path::absolute("data/a.jsonl").unwrap();
        for same in ["data/a.jsonl", "./data/x/../a.jsonl", here.to_str().unwrap()] {
            let tables = [table("data/a.jsonl"), table("data/b.jsonl"), table(same)];
            assert_eq!(find_shared_file(&tables), Some((2, "lines")), "{same}");
        }
        assert_eq!(find_shared_file(&[table("data/a.jsonl"), table("a.jsonl")]), None);
    }
}
