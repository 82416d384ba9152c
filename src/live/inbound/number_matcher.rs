//! The conditions `from` and `to` of a rule: exact phone numbers, prefixes, and files of both.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::base::supervise;
use crate::config::FieldError;
use crate::privacy::number_spelling::{self, NumberPattern, parse_pattern, trim_copied};
use crate::privacy::redact;

/// Larger files are rejected. 32 MiB hold about two million numbers.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Limit for checking a file for changes. After that, the contents that were read last are used.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(100);

/// The numbers, prefixes and files of one condition.
#[derive(Debug, Default)]
pub(super) struct NumberMatcher {
    patterns: NumberPatterns,
    files: Vec<Arc<NumberFile>>,
}

#[derive(Debug, Default)]
struct NumberPatterns {
    exact: HashSet<String>,
    prefixes: Vec<String>,
}

#[derive(Debug)]
struct NumberFile {
    path: PathBuf,
    last_read: Mutex<NumberFileContents>,
    /// Set while a thread checks the file. On a file system that hangs, this keeps the number of stuck threads at
    /// one.
    refresh_running: AtomicBool,
}

#[derive(Debug, Default)]
struct NumberFileContents {
    patterns: Arc<NumberPatterns>,
    version: Option<FileVersion>,
    /// Set after a failed read was logged, until the next successful one.
    read_failed: bool,
}

impl NumberMatcher {
    /// `None` for an empty list: the rule does not have this condition.
    pub(super) fn parse(key: &'static str, texts: &[String]) -> Result<Option<Self>, FieldError> {
        if texts.is_empty() {
            return Ok(None);
        }
        let mut matcher = Self::default();
        for (position, text) in texts.iter().enumerate() {
            let added = match trim_copied(text).strip_prefix('@') {
                Some(path) => NumberFile::open(path.into()).map(|file| matcher.files.push(Arc::new(file))),
                None => matcher.patterns.insert(text),
            };
            added.map_err(|reason| FieldError::new(format!("{key}[{position}]"), reason))?;
        }
        Ok(Some(matcher))
    }

    /// Whether `number` matches. Files that changed are read again on a blocking thread; the request waits for at
    /// most [`REFRESH_TIMEOUT`] per file.
    pub(super) async fn matches(&self, number: &str) -> bool {
        let number = number_spelling::normalize(number);
        if self.patterns.matches(&number) {
            return true;
        }
        for file in &self.files {
            if NumberFile::latest_patterns(file).await.matches(&number) {
                return true;
            }
        }
        false
    }
}

impl NumberPatterns {
    /// Adds a number or a prefix, or returns why `text` is neither. The reason shows only a part of a number.
    fn insert(&mut self, text: &str) -> Result<(), String> {
        match parse_pattern(text) {
            Ok(NumberPattern::Exact(number)) => drop(self.exact.insert(number)),
            Ok(NumberPattern::Prefix(prefix)) => self.prefixes.push(prefix),
            Err(why) => return Err(format!("`{}` matches no call: {why}", redact::phone(trim_copied(text)))),
        }
        Ok(())
    }

    fn matches(&self, number: &str) -> bool {
        self.exact.contains(number) || self.prefixes.iter().any(|prefix| number.starts_with(prefix))
    }

    /// Parses one number or prefix per line; `#` starts a comment. The error names the line.
    fn parse_lines(text: &str) -> Result<Self, String> {
        let mut patterns = Self::default();
        for (line, number) in text.lines().zip(1..) {
            let without_comment = line.split('#').next().unwrap_or_default();
            if !trim_copied(without_comment).is_empty() {
                patterns.insert(without_comment).map_err(|reason| format!("line {number}: {reason}"))?;
            }
        }
        Ok(patterns)
    }
}

impl NumberFile {
    fn open(path: PathBuf) -> Result<Self, String> {
        let (parsed, version) = read_number_file(&path)
            .map_err(|error| format!("cannot read the number file {}: {error}", path.display()))?;
        let patterns = parsed.map_err(|error| format!("the number file {}, {error}", path.display()))?;
        let contents = NumberFileContents { patterns: Arc::new(patterns), version: Some(version), read_failed: false };
        Ok(Self { path, last_read: Mutex::new(contents), refresh_running: AtomicBool::new(false) })
    }

    /// The current contents, or those read last if the file system does not answer in time.
    async fn latest_patterns(this: &Arc<Self>) -> Arc<NumberPatterns> {
        if this.refresh_running.swap(true, Ordering::Relaxed) {
            return this.cached_patterns();
        }
        let file = Arc::clone(this);
        // The thread continues after the timeout and clears the flag itself; a later request then uses its result.
        let refresh = supervise::run_blocking(move || {
            let patterns = file.refresh();
            file.refresh_running.store(false, Ordering::Relaxed);
            patterns
        });
        match tokio::time::timeout(REFRESH_TIMEOUT, refresh).await {
            Ok(Some(patterns)) => patterns,
            Ok(None) | Err(_) => this.cached_patterns(),
        }
    }

    fn cached_patterns(&self) -> Arc<NumberPatterns> {
        Arc::clone(&self.last_read.lock().unwrap_or_else(PoisonError::into_inner).patterns)
    }

    /// Reads the file if it has changed. If that fails, the contents that were read last stay in use.
    fn refresh(&self) -> Arc<NumberPatterns> {
        let last_version = self.last_read.lock().unwrap_or_else(PoisonError::into_inner).version.clone();
        let metadata = std::fs::metadata(&self.path);
        let version = metadata.ok().map(|metadata| FileVersion::from_metadata(&metadata));
        if version.is_some() && version == last_version {
            return self.cached_patterns();
        }
        // Read without the lock: requests that use the cached contents must not wait for the file system.
        let contents = read_number_file(&self.path);
        let mut last = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        match contents {
            Ok((Ok(patterns), version)) => {
                *last = NumberFileContents { patterns: Arc::new(patterns), version: Some(version), read_failed: false };
            }
            // Not read again before it changes.
            Ok((Err(error), version)) => {
                tracing::warn!(path = %self.path.display(), error, "number file reload failed");
                last.version = Some(version);
            }
            Err(error) => {
                // Logged once, not for every call that comes in.
                if !last.read_failed {
                    tracing::warn!(path = %self.path.display(), %error, "number file reload failed");
                }
                last.read_failed = true;
            }
        }
        Arc::clone(&last.patterns)
    }
}

/// The numbers of the file, or why one of its lines is invalid.
fn read_number_file(path: &std::path::Path) -> std::io::Result<(Result<NumberPatterns, String>, FileVersion)> {
    let file = File::open(path)?;
    // Before the contents: a write in between leads to an older version, so the file is read again at the next check.
    let version = FileVersion::from_metadata(&file.metadata()?);
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("the file is larger than 32 MiB"));
    }
    Ok((NumberPatterns::parse_lines(&text), version))
}

/// Size and modification time, to detect a change without reading the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileVersion {
    len: u64,
    modified: Option<Timestamp>,
}

impl FileVersion {
    fn from_metadata(file: &Metadata) -> Self {
        let modified = file.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        Self { len: file.len(), modified }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(texts: &[&str]) -> NumberMatcher {
        NumberMatcher::parse("from", &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap().unwrap()
    }

    #[tokio::test]
    async fn exact_numbers_prefixes_and_words_match() {
        let matcher = numbers(&["+49 (0)30 123-456", "+1202*", "Anonymous", "sip:ada@example.com"]);
        for (number, expected) in [
            ("+4930123456", true),
            ("+49301234567", false),
            ("+12025550143", true),
            ("+1202", true),
            ("+120", false),
            ("anonymous", true),
            ("sip:Ada@example.com", true),
            ("ada@example.org", false),
            ("", false),
        ] {
            assert_eq!(matcher.matches(number).await, expected, "{number}");
        }
        assert!(NumberMatcher::parse("from", &[]).unwrap().is_none());
    }

    #[test]
    fn entries_that_match_no_call_are_refused_by_position() {
        for invalid in ["", "*", "+49*30", "@/nowhere/at/all", "030 123456", "4930123456", "anonymus"] {
            let error = NumberMatcher::parse("from", &["+49*".to_owned(), invalid.to_owned()]).unwrap_err();
            assert_eq!(error.key(), "from[1]", "{invalid}");
        }
        let error = NumberMatcher::parse("from", &["030 12345678".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`030•••78` matches no call: it has no country code"), "{error}");
    }

    #[tokio::test]
    async fn lines_that_match_no_call_are_refused_by_number_and_keep_the_last_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vip.txt");
        std::fs::write(&path, "\u{feff}+49 (0)30 123456 # Ana\n\u{feff}\n\"+1 202*\"\n").unwrap();
        let list = numbers(&[&format!("\"@{}\"", path.display())]);
        assert!(list.matches("+4930123456").await && list.matches("+12025550143").await);
        std::fs::write(&path, "+33*\n\n030 12345678\n").unwrap();
        assert!(list.matches("+4930123456").await && !list.matches("+331").await);
        let error = NumberMatcher::parse("to", &[format!("@{}", path.display())]).unwrap_err().to_string();
        assert!(error.contains("vip.txt, line 3: `030•••78` matches no call: "), "{error}");
    }

    #[tokio::test]
    async fn changed_file_is_read_again_and_missing_file_keeps_its_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vip.txt");
        std::fs::write(&path, "# friends\n+12025550143 # Ana\n\n+49*\r\n").unwrap();
        let list = numbers(&[&format!("@{}", path.display())]);
        assert!(list.matches("+12025550143").await && list.matches("+4930").await && !list.matches("+33").await);
        std::fs::write(folder.path().join("new"), "+33*\n").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(list.matches("+331").await && !list.matches("+12025550143").await);
        std::fs::remove_file(&path).unwrap();
        assert!(list.matches("+331").await, "the contents that were read last");
        std::fs::write(&path, "+12025550143\n").unwrap();
        assert!(list.matches("+12025550143").await);
    }
}
