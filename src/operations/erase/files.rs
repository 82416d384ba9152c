//! Files outside the store that can mention the person: log files, and the files of `file` handlers.

use std::path::{Path, PathBuf};

use crate::base::erase_lines;
use crate::config::{HandlerKind, Settings};
use crate::operations::{Progress, ProgressCallback, run_blocking_with_progress};
use crate::storage::DataSubject;

const BYTES_PER_REPORT: u64 = 1024 * 1024;
const FILE_STEP: &str = "bytes of files searched";

#[derive(Clone)]
pub(super) struct ErasableFiles {
    log_file: Option<PathBuf>,
    handler_files: Vec<PathBuf>,
}

/// Numbers of lines that were overwritten, or as a dry run would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ErasedLines {
    pub(super) log_lines: u64,
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
        let file_handlers = settings.handlers.iter().filter(|handler| handler.kind == HandlerKind::File);
        Self {
            log_file: settings.log.directory().map(|folder| folder.join("app.log")),
            handler_files: file_handlers.filter_map(|handler| handler.path.clone()).collect(),
        }
    }

    /// Overwrites the lines about the person, or with `dry_run` counts them. Files that cannot be read or changed are
    /// added to `failed`.
    pub(super) async fn overwrite_lines(
        &self,
        person: &DataSubject,
        dry_run: bool,
        failed: &mut Vec<String>,
        progress: ProgressCallback<'_>,
    ) -> ErasedLines {
        let (files, person) = (self.clone(), person.clone());
        let work = move |report: &mut dyn FnMut(Progress)| {
            let mut run = FileRun { person, dry_run, failed: Vec::new(), done: 0, total: files.total_bytes(), report };
            (files.overwrite_now(&mut run), run.failed)
        };
        let Some((erased, failures)) = run_blocking_with_progress(progress, work).await else {
            failed.push("log and handler files: the process is shutting down".to_owned());
            return ErasedLines::default();
        };
        for failure in failures {
            // Files are overwritten twice; one that fails both times is reported once.
            if !failed.contains(&failure) {
                failed.push(failure);
            }
        }
        erased
    }

    fn overwrite_now(&self, run: &mut FileRun) -> ErasedLines {
        run.report_progress();
        let mut overwrite =
            |path: &PathBuf| -> u64 { with_rotated(path).iter().map(|file| run.overwrite_file(file)).sum() };
        ErasedLines {
            log_lines: self.log_file.iter().map(&mut overwrite).sum(),
            file_lines: self.handler_files.iter().map(&mut overwrite).sum(),
        }
    }

    fn total_bytes(&self) -> u64 {
        let files = self.log_file.iter().chain(&self.handler_files).flat_map(|path| with_rotated(path));
        files.filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum()
    }
}

/// One pass over all files.
struct FileRun<'a> {
    person: DataSubject,
    dry_run: bool,
    failed: Vec<String>,
    /// Bytes read, of about `total`.
    done: u64,
    total: u64,
    report: &'a mut dyn FnMut(Progress),
}

impl FileRun<'_> {
    fn report_progress(&mut self) {
        (self.report)(Progress { step: FILE_STEP, done: self.done, total: self.total });
    }

    fn overwrite_file(&mut self, file: &Path) -> u64 {
        let Self { person, done, report, .. } = self;
        let total = self.total;
        let matches = |line: &[u8]| {
            let before = *done / BYTES_PER_REPORT;
            *done += line.len() as u64;
            if *done / BYTES_PER_REPORT != before {
                report(Progress { step: FILE_STEP, done: *done, total });
            }
            person.matches_text(line)
        };
        match erase_lines::erase_matching_lines(file, self.dry_run, matches) {
            Ok(lines) => lines,
            Err(error) => {
                self.failed.push(format!("{}: {error}", file.display()));
                0
            }
        }
    }
}

/// The file and its rotated predecessors in the same folder, which have its name and a suffix that begins with a dot.
fn with_rotated(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let entry_name = entry.file_name();
        let suffix = entry_name.to_str().and_then(|entry_name| entry_name.strip_prefix(name));
        if is_file && suffix.is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('.')) {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::with_rotated;

    #[test]
    fn only_rotated_files_of_the_same_name_are_included() {
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
