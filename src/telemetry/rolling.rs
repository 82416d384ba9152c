//! A log file that begins anew every day under the same name, so that `tail -f` and people always know where it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;

use crate::base::clock::Clock;

/// The current file.
const CURRENT: &str = "app.log";
/// Files of earlier days that are kept.
const KEPT: usize = 14;
const DAY_MS: i64 = 86_400_000;

/// Writes `app.log` in a folder. With the first line of another day (UTC) the file becomes `app.log.2026-11-21`, after
/// the day it is about, and those of more than [`KEPT`] days are removed.
///
/// Writing never fails: a line that cannot be written is counted, because nobody waits for it.
pub(super) struct Rolling {
    folder: PathBuf,
    clock: Clock,
    /// Which day the file is about, in days since the Unix epoch.
    day: i64,
    file: BufWriter<File>,
    lost: Arc<AtomicUsize>,
}

impl Rolling {
    /// Goes on with the file in `folder`; creates what is missing, private to this user.
    pub(super) fn open(folder: &Path, clock: Clock) -> io::Result<Self> {
        if !folder.exists() {
            create_private_folder(folder)?;
        }
        let (path, today) = (folder.join(CURRENT), day_of(clock.now_ms()));
        let day = last_written(&path).map_or(today, day_of);
        let file = BufWriter::new(open_private(&path)?);
        let mut rolling = Self { folder: folder.to_owned(), clock, day, file, lost: Arc::default() };
        rolling.turn_to(today)?;
        Ok(rolling)
    }

    /// How many lines could not be written so far.
    pub(super) fn lost(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.lost)
    }

    /// Puts the file away when `today` is not its day.
    fn turn_to(&mut self, today: i64) -> io::Result<()> {
        if today == self.day {
            return Ok(());
        }
        self.file.flush()?;
        let (path, away) = (self.folder.join(CURRENT), self.folder.join(format!("{CURRENT}.{}", date(self.day))));
        // Taken when the clock went back, or another process was first: then the file goes on, and nothing is lost.
        if !away.exists() && path.exists() {
            fs::rename(&path, away)?;
        }
        self.file = BufWriter::new(open_private(&path)?);
        self.day = today;
        self.prune()
    }

    fn prune(&self) -> io::Result<()> {
        let names = fs::read_dir(&self.folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut dated: Vec<String> = names.filter(|name| is_dated(name)).collect();
        dated.sort_unstable();
        let old = dated.len().saturating_sub(KEPT);
        dated.iter().take(old).try_for_each(|name| fs::remove_file(self.folder.join(name)))
    }
}

impl Write for Rolling {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.turn_to(day_of(self.clock.now_ms())).and_then(|()| self.file.write_all(line));
        if written.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.file.flush().is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn day_of(now_ms: i64) -> i64 {
    now_ms.div_euclid(DAY_MS)
}

fn date(day: i64) -> String {
    let midnight = Timestamp::from_millisecond(day.saturating_mul(DAY_MS)).unwrap_or_default();
    midnight.strftime("%Y-%m-%d").to_string()
}

/// `app.log.2026-11-21`, and nothing that somebody else put there.
fn is_dated(name: &str) -> bool {
    let date = name.strip_prefix(CURRENT).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
    let shape = |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    date.len() == 10 && date.bytes().enumerate().all(shape)
}

/// When the file was written last, in milliseconds since the Unix epoch; `None` when it is missing or empty.
fn last_written(path: &Path) -> Option<i64> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.len() > 0)?;
    Some(Timestamp::try_from(metadata.modified().ok()?).ok()?.as_millisecond())
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    /// 2026-11-21T23:59:59Z.
    const LATE: i64 = 1_795_305_599_000;

    fn clock(now_ms: &Arc<AtomicI64>) -> Clock {
        let now_ms = Arc::clone(now_ms);
        Clock::from_fn(move || now_ms.load(Ordering::Relaxed))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.collect();
        names.sort_unstable();
        names
    }

    fn say(rolling: &mut Rolling, text: &str) {
        rolling.write_all(text.as_bytes()).unwrap();
        rolling.flush().unwrap();
    }

    #[test]
    fn another_day_puts_the_file_away_and_the_name_stays() {
        let (folder, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(LATE)));
        let mut rolling = Rolling::open(folder.path(), clock(&now_ms)).unwrap();
        say(&mut rolling, "late\n");
        now_ms.store(LATE + 1_000, Ordering::Relaxed);
        say(&mut rolling, "early\n");
        assert_eq!(names(folder.path()), ["app.log", "app.log.2026-11-21"]);
        assert_eq!(fs::read_to_string(folder.path().join("app.log.2026-11-21")).unwrap(), "late\n");
        assert_eq!(fs::read_to_string(folder.path().join("app.log")).unwrap(), "early\n");
        assert_eq!(rolling.lost().load(Ordering::Relaxed), 0);
    }

    #[test]
    fn fourteen_days_are_kept_and_files_of_others_stay() {
        let (folder, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(LATE)));
        fs::write(folder.path().join("app.log.2020-old"), "mine").unwrap();
        let mut rolling = Rolling::open(folder.path(), clock(&now_ms)).unwrap();
        for _ in 0..20 {
            say(&mut rolling, "a day\n");
            now_ms.fetch_add(DAY_MS, Ordering::Relaxed);
        }
        let names = names(folder.path());
        assert_eq!(names.iter().filter(|name| is_dated(name)).count(), KEPT);
        assert_eq!((names[1].as_str(), names[15].as_str()), ("app.log.2020-old", "app.log.2026-12-09"));
    }

    #[test]
    fn a_restart_goes_on_with_the_file_or_puts_yesterdays_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CURRENT);
        fs::write(&path, "before\n").unwrap();
        let written = last_written(&path).unwrap();
        say(&mut Rolling::open(folder.path(), Clock::from_fn(move || written)).unwrap(), "same day\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nsame day\n");
        let tomorrow = last_written(&path).unwrap() + DAY_MS;
        say(&mut Rolling::open(folder.path(), Clock::from_fn(move || tomorrow)).unwrap(), "next day\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "next day\n");
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_clock_that_goes_back_loses_nothing() {
        let (folder, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(LATE)));
        let mut rolling = Rolling::open(folder.path(), clock(&now_ms)).unwrap();
        for (number, step) in [0, DAY_MS, -DAY_MS, DAY_MS, -DAY_MS].into_iter().enumerate() {
            now_ms.fetch_add(step, Ordering::Relaxed);
            say(&mut rolling, &format!("line {number}\n"));
        }
        let all: String =
            names(folder.path()).iter().map(|name| fs::read_to_string(folder.path().join(name)).unwrap()).collect();
        assert_eq!(all.lines().count(), 5, "{all}");
    }

    #[cfg(unix)]
    #[test]
    fn folder_and_files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("a/logs");
        say(&mut Rolling::open(&logs, Clock::system()).unwrap(), "a line\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&logs), mode(&logs.join(CURRENT))), (0o700, 0o600));
    }
}
