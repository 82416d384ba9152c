//! Files beside the store: log files, and those that `file` handlers write.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::erase_lines;
use crate::config::{HandlerKind, Settings};
use crate::storage::sqlite::DataSubject;

/// Where lines about the person may be.
pub(super) struct ErasableFiles {
    log_file: Option<PathBuf>,
    /// The paths of `file` handlers.
    handler_files: Vec<PathBuf>,
}

/// Lines that were overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct ErasedLines {
    /// In log files.
    pub(super) log_lines: u64,
    /// In files of `file` handlers.
    pub(super) file_lines: u64,
}

impl std::ops::AddAssign for ErasedLines {
    fn add_assign(&mut self, more: Self) {
        self.log_lines += more.log_lines;
        self.file_lines += more.file_lines;
    }
}

impl ErasableFiles {
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let file = settings.handlers.iter().filter(|handler| handler.kind == HandlerKind::File);
        Self {
            log_file: settings.log.directory().map(|folder| folder.join("app.log")),
            handler_files: file.filter_map(|handler| handler.path.clone()).collect(),
        }
    }

    /// Overwrites the lines, or with `dry` counts them. Files that cannot be changed are added to `failed`.
    pub(super) fn overwrite_lines(&self, person: &DataSubject, dry: bool, failed: &mut Vec<String>) -> ErasedLines {
        let mut of = |path: &PathBuf| -> u64 {
            let files = with_rotated(path);
            files
                .iter()
                .map(|file| {
                    erase_lines::erase_matching_lines(file, dry, |line| person.matches_text(line)).unwrap_or_else(
                        |error| {
                            let failure = format!("{}: {error}", file.display());
                            if !failed.contains(&failure) {
                                failed.push(failure);
                            }
                            0
                        },
                    )
                })
                .sum()
        };
        ErasedLines {
            log_lines: self.log_file.iter().map(&mut of).sum(),
            file_lines: self.handler_files.iter().map(&mut of).sum(),
        }
    }
}

/// The file and those that were put away beside it, whose names go on behind a dot.
fn with_rotated(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let is_it = |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut files: Vec<_> =
        files.filter(|entry| entry.file_name().to_str().is_some_and(is_it)).map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::with_rotated;

    #[test]
    fn rotated_files_belong_to_it_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let all = ["events.jsonl", "events.jsonl.20261121T101530.123Z", "events.jsonl2", "events-other.jsonl"];
        for name in all {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = with_rotated(&folder.path().join("events.jsonl"));
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["events.jsonl", "events.jsonl.20261121T101530.123Z"]);
    }
}
