//! The log file with daily rotation. The current file always has the same name, so `tail -F` can follow it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use serde_json::json;

use crate::base::clock::Clock;
use crate::config::{LogFormat, LogSettings};

const CURRENT_FILE: &str = "app.log";
/// Maximum number of files of earlier days; older ones are deleted.
const MAX_ROTATED_FILES: usize = 14;
const DAY_MS: i64 = 86_400_000;
const CHECK_INTERVAL_MS: i64 = 1_000;

/// Writes `app.log` in a folder. The first line of a new day (UTC) renames the file to `app.log.2026-11-21`, the day
/// of its lines, and deletes the oldest files above [`MAX_ROTATED_FILES`].
///
/// A day's file that has reached its limit is closed with a line that says so, and the lines until the next day are counted
/// as lost.
///
/// Writing never returns an error, because the writer thread could not handle one: a line that cannot be written is
/// counted as lost.
pub(super) struct RollingFile {
    folder: PathBuf,
    clock: Clock,
    /// The day of the lines in the current file, in days since the Unix epoch.
    day: i64,
    file: BufWriter<File>,
    size_bytes: u64,
    limit_bytes: u64,
    format: LogFormat,
    lost_lines: Arc<AtomicUsize>,
    /// When the file was last compared with the one at its path, in milliseconds since the Unix epoch.
    checked_at_ms: i64,
}

impl RollingFile {
    /// Opens or creates the file in `folder` and continues it. A new folder has mode 0700, a new file 0600.
    pub(super) fn open(folder: &Path, settings: &LogSettings, clock: Clock) -> io::Result<Self> {
        if !folder.exists() {
            create_private_folder(folder)?;
        }
        let path = folder.join(CURRENT_FILE);
        let today = utc_day(clock.now_ms());
        // A file that was last written on an earlier day belongs to that day and is rotated below.
        let day = last_modified_ms(&path).map_or(today, utc_day);
        let (file, size_bytes) = open_private_file(&path)?;
        let mut rolling = Self {
            folder: folder.to_owned(),
            checked_at_ms: clock.now_ms(),
            clock,
            day,
            file,
            size_bytes,
            limit_bytes: settings.daily_limit_bytes,
            format: settings.format,
            lost_lines: Arc::default(),
        };
        rolling.rotate_to(today)?;
        Ok(rolling)
    }

    /// The live count of lines that could not be written.
    pub(super) fn lost_lines(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.lost_lines)
    }

    /// Opens the file again when it was moved or deleted, so that no line goes to a file without a name. Looks once per
    /// second.
    fn reopen_if_replaced(&mut self, now_ms: i64) -> io::Result<()> {
        if (0..CHECK_INTERVAL_MS).contains(&now_ms.saturating_sub(self.checked_at_ms)) {
            return Ok(());
        }
        self.checked_at_ms = now_ms;
        self.file.flush()?;
        let path = self.folder.join(CURRENT_FILE);
        let open = self.file.get_ref().metadata()?;
        if fs::metadata(&path).is_ok_and(|named| is_same_file(&named, &open)) {
            // Smaller when another program has truncated it.
            self.size_bytes = open.len();
            return Ok(());
        }
        if !self.folder.exists() {
            create_private_folder(&self.folder)?;
        }
        (self.file, self.size_bytes) = open_private_file(&path)?;
        Ok(())
    }

    /// Rotates the current file when `today` is not its day.
    fn rotate_to(&mut self, today: i64) -> io::Result<()> {
        if today == self.day {
            return Ok(());
        }
        self.file.flush()?;
        let path = self.folder.join(CURRENT_FILE);
        let rotated_path = self.folder.join(format!("{CURRENT_FILE}.{}", format_date(self.day)));
        // The rotated name exists when the clock was set back or another process rotated first. Renaming would
        // overwrite that file, so the current one continues instead and no line is lost.
        if !rotated_path.exists() && path.exists() {
            fs::rename(&path, rotated_path)?;
        }
        (self.file, self.size_bytes) = open_private_file(&path)?;
        self.day = today;
        self.delete_old_files()
    }

    fn delete_old_files(&self) -> io::Result<()> {
        let names = fs::read_dir(&self.folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut rotated: Vec<String> = names.filter(|name| is_rotated_file(name)).collect();
        // The date format sorts by age.
        rotated.sort_unstable();
        let excess = rotated.len().saturating_sub(MAX_ROTATED_FILES);
        rotated.iter().take(excess).try_for_each(|name| fs::remove_file(self.folder.join(name)))
    }
}

impl RollingFile {
    /// Writes a line unless the limit is reached. Returns whether it was written.
    fn write_line(&mut self, line: &[u8]) -> io::Result<bool> {
        let now_ms = self.clock.now_ms();
        self.reopen_if_replaced(now_ms)?;
        self.rotate_to(utc_day(now_ms))?;
        if self.size_bytes >= self.limit_bytes {
            return Ok(false);
        }
        let end = self.size_bytes + line.len() as u64;
        let is_last = end >= self.limit_bytes;
        self.file.write_all(line)?;
        self.size_bytes = end;
        if is_last {
            self.file.write_all(limit_line(now_ms, self.limit_bytes, self.format).as_bytes())?;
        }
        Ok(true)
    }
}

impl Write for RollingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.write_line(line).unwrap_or(false) {
            self.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.file.flush().is_err() {
            self.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The last line of a file that has reached its limit. It has the form of the other lines, which `tracing` makes.
fn limit_line(now_ms: i64, limit_bytes: u64, format: LogFormat) -> String {
    let time = Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let message = "log file full until the next day";
    match format {
        LogFormat::Human => {
            format!("{time:.6}  WARN {message} setting=\"log.daily_limit_bytes\" limit_bytes={limit_bytes}\n")
        }
        LogFormat::Json => {
            let fields = json!({
                "timestamp": format!("{time:.6}"), "level": "WARN", "message": message,
                "setting": "log.daily_limit_bytes", "limit_bytes": limit_bytes,
            });
            format!("{fields}\n")
        }
    }
}

fn utc_day(now_ms: i64) -> i64 {
    now_ms.div_euclid(DAY_MS)
}

fn format_date(day: i64) -> String {
    let midnight = Timestamp::from_millisecond(day.saturating_mul(DAY_MS)).unwrap_or_default();
    midnight.strftime("%Y-%m-%d").to_string()
}

/// Whether the name is exactly that of a rotated file (`app.log.2026-11-21`): files of others must not be deleted.
fn is_rotated_file(name: &str) -> bool {
    let date = name.strip_prefix(CURRENT_FILE).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
    let has_date_format =
        |(index, byte): (usize, u8)| if matches!(index, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    date.len() == 10 && date.bytes().enumerate().all(has_date_format)
}

/// When the file was last written, in milliseconds since the Unix epoch; `None` when it is missing or empty.
fn last_modified_ms(path: &Path) -> Option<i64> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.len() > 0)?;
    Some(Timestamp::try_from(metadata.modified().ok()?).ok()?.as_millisecond())
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

#[cfg(unix)]
fn is_same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Elsewhere an open file can be neither moved nor deleted.
#[cfg(not(unix))]
fn is_same_file(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

/// Opens the file to append to it. Returns its size too.
fn open_private_file(path: &Path) -> io::Result<(BufWriter<File>, u64)> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    let size_bytes = file.metadata()?.len();
    Ok((BufWriter::new(file), size_bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    /// 2026-11-21T23:59:59Z.
    const BEFORE_MIDNIGHT_MS: i64 = 1_795_305_599_000;

    fn clock(now_ms: &Arc<AtomicI64>) -> Clock {
        let now_ms = Arc::clone(now_ms);
        Clock::from_fn(move || now_ms.load(Ordering::Relaxed))
    }

    fn open(folder: &Path, clock: Clock) -> io::Result<RollingFile> {
        RollingFile::open(folder, &LogSettings::default(), clock)
    }

    fn file_names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.collect();
        names.sort_unstable();
        names
    }

    fn write_line(rolling: &mut RollingFile, text: &str) {
        rolling.write_all(text.as_bytes()).unwrap();
        rolling.flush().unwrap();
    }

    #[test]
    fn a_new_day_rotates_the_file() {
        let (folder, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(BEFORE_MIDNIGHT_MS)));
        let mut rolling = open(folder.path(), clock(&now_ms)).unwrap();
        write_line(&mut rolling, "late\n");
        now_ms.store(BEFORE_MIDNIGHT_MS + 1_000, Ordering::Relaxed);
        write_line(&mut rolling, "early\n");
        assert_eq!(file_names(folder.path()), ["app.log", "app.log.2026-11-21"]);
        assert_eq!(fs::read_to_string(folder.path().join("app.log.2026-11-21")).unwrap(), "late\n");
        assert_eq!(fs::read_to_string(folder.path().join("app.log")).unwrap(), "early\n");
        assert_eq!(rolling.lost_lines().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn fourteen_rotated_files_are_kept_and_other_files_stay() {
        let (folder, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(BEFORE_MIDNIGHT_MS)));
        fs::write(folder.path().join("app.log.2020-old"), "mine").unwrap();
        let mut rolling = open(folder.path(), clock(&now_ms)).unwrap();
        for _ in 0..20 {
            write_line(&mut rolling, "a day\n");
            now_ms.fetch_add(DAY_MS, Ordering::Relaxed);
        }
        let names = file_names(folder.path());
        assert_eq!(names.iter().filter(|name| is_rotated_file(name)).count(), MAX_ROTATED_FILES);
        assert_eq!((names[1].as_str(), names[15].as_str()), ("app.log.2020-old", "app.log.2026-12-09"));
    }

    #[test]
    fn a_restart_continues_the_file_or_rotates_yesterdays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CURRENT_FILE);
        fs::write(&path, "before\n").unwrap();
        let written = last_modified_ms(&path).unwrap();
        write_line(&mut open(folder.path(), Clock::from_fn(move || written)).unwrap(), "same day\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nsame day\n");
        let tomorrow = last_modified_ms(&path).unwrap() + DAY_MS;
        write_line(&mut open(folder.path(), Clock::from_fn(move || tomorrow)).unwrap(), "next day\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "next day\n");
        assert_eq!(file_names(folder.path()).len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_moved_deleted_or_truncated_is_continued_at_its_path() {
        let (folder, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(Clock::system().now_ms())));
        let logs = folder.path().join("logs");
        let (path, moved) = (logs.join(CURRENT_FILE), folder.path().join("moved"));
        let settings = LogSettings { daily_limit_bytes: 20, ..LogSettings::default() };
        let mut rolling = RollingFile::open(&logs, &settings, clock(&now_ms)).unwrap();
        let mut write_later = |text: &str| {
            now_ms.fetch_add(CHECK_INTERVAL_MS, Ordering::Relaxed);
            write_line(&mut rolling, text);
            fs::read_to_string(&path).unwrap()
        };
        assert_eq!(write_later("first\n"), "first\n");
        fs::rename(&path, &moved).unwrap();
        assert_eq!(write_later("second\n"), "second\n");
        assert_eq!(fs::read_to_string(&moved).unwrap(), "first\n");
        fs::remove_dir_all(&logs).unwrap();
        assert_eq!(write_later("third\n"), "third\n");
        File::create(&path).unwrap();
        assert_eq!(write_later("after truncation\n"), "after truncation\n", "the limit counts the file as it is");
        assert_eq!(rolling.lost_lines().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn setting_the_clock_back_loses_no_line() {
        let (folder, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(BEFORE_MIDNIGHT_MS)));
        let mut rolling = open(folder.path(), clock(&now_ms)).unwrap();
        for (number, step) in [0, DAY_MS, -DAY_MS, DAY_MS, -DAY_MS].into_iter().enumerate() {
            now_ms.fetch_add(step, Ordering::Relaxed);
            write_line(&mut rolling, &format!("line {number}\n"));
        }
        let all: String = file_names(folder.path())
            .iter()
            .map(|name| fs::read_to_string(folder.path().join(name)).unwrap())
            .collect();
        assert_eq!(all.lines().count(), 5, "{all}");
    }

    #[test]
    fn a_full_file_ends_with_a_line_about_it_until_the_next_day() {
        for format in [LogFormat::Human, LogFormat::Json] {
            // Opening compares the clock with the time of the file.
            let (folder, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(Clock::system().now_ms())));
            let path = folder.path().join(CURRENT_FILE);
            let settings = LogSettings { daily_limit_bytes: 100, format, ..LogSettings::default() };
            let mut rolling = RollingFile::open(folder.path(), &settings, clock(&now_ms)).unwrap();
            (0..20).for_each(|_| write_line(&mut rolling, "twenty bytes of log\n"));
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), 6, "{text}");
            assert!(text.lines().last().unwrap().contains("log file full until the next day"), "{text}");
            assert_eq!(rolling.lost_lines().load(Ordering::Relaxed), 15);
            drop(rolling);
            let mut reopened = RollingFile::open(folder.path(), &settings, clock(&now_ms)).unwrap();
            write_line(&mut reopened, "after a restart\n");
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "a restart does not reset the limit");
            now_ms.fetch_add(DAY_MS, Ordering::Relaxed);
            write_line(&mut reopened, "next day\n");
            assert_eq!(fs::read_to_string(&path).unwrap(), "next day\n");
        }
    }

    #[cfg(unix)]
    #[test]
    fn folder_and_files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("a/logs");
        write_line(&mut open(&logs, Clock::system()).unwrap(), "a line\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&logs), mode(&logs.join(CURRENT_FILE))), (0o700, 0o600));
    }
}
