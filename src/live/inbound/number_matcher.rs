//! Whether a number is among those of a rule: exact, by its beginning, or in a file.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::rules::InvalidInboundKey;
use crate::base::supervise;

/// Room for a million numbers.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;
/// How long a look at a file may take before what was read last counts.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(100);

/// The numbers of one condition.
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
    /// Somebody is looking: on a file system that hangs, one thread waits and no more.
    refresh_running: AtomicBool,
}

/// A file as of the last reading.
#[derive(Debug, Default)]
struct NumberFileContents {
    patterns: Arc<NumberPatterns>,
    version: Option<FileVersion>,
    /// It could not be read the last time, which was said.
    read_failed: bool,
}

impl NumberMatcher {
    /// `None` when there is no condition.
    pub(super) fn parse(key: &'static str, texts: &[String]) -> Result<Option<Self>, InvalidInboundKey> {
        let mut numbers = Self::default();
        for text in texts {
            if let Some(path) = text.trim().strip_prefix('@') {
                numbers.files.push(Arc::new(NumberFile::open(path.into()).map_err(|why| (key, why))?));
            } else if !numbers.patterns.insert(text) {
                let why = "expected a number (\"+4930123456\"), a beginning (\"+4930*\") or a file (\"@vip.txt\")";
                return Err((key, why.to_owned()));
            }
        }
        Ok((!texts.is_empty()).then_some(numbers))
    }

    /// Whether `number` is among them. A file that changed is read again; beside the request, and only for so long.
    pub(super) async fn matches(&self, number: &str) -> bool {
        let number = normalize_number(number);
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
    /// `false`: it is no number.
    fn insert(&mut self, text: &str) -> bool {
        let text = normalize_number(text);
        let (number, is_prefix) = text.strip_suffix('*').map_or((text.as_str(), false), |number| (number, true));
        if number.is_empty() || number.contains('*') {
            return false;
        }
        if is_prefix {
            self.prefixes.push(number.to_owned());
        } else {
            self.exact.insert(number.to_owned());
        }
        true
    }

    fn matches(&self, number: &str) -> bool {
        self.exact.contains(number) || self.prefixes.iter().any(|prefix| number.starts_with(prefix))
    }

    /// A number a line; what follows a `#` is a comment.
    fn parse_lines(text: &str) -> Self {
        let mut known = Self::default();
        for line in text.lines() {
            known.insert(line.split('#').next().unwrap_or_default());
        }
        known
    }
}

impl NumberFile {
    fn open(path: PathBuf) -> Result<Self, String> {
        let (known, stamp) = read_number_file(&path).map_err(|why| format!("the file {}: {why}", path.display()))?;
        let read = NumberFileContents { patterns: Arc::new(known), version: Some(stamp), read_failed: false };
        Ok(Self { path, last_read: Mutex::new(read), refresh_running: AtomicBool::new(false) })
    }

    /// As it is now, if that can be found out shortly.
    async fn latest_patterns(this: &Arc<Self>) -> Arc<NumberPatterns> {
        if this.refresh_running.swap(true, Ordering::Relaxed) {
            return this.cached_patterns();
        }
        let looking = Arc::clone(this);
        let looked = supervise::run_blocking(move || {
            let known = looking.refresh();
            looking.refresh_running.store(false, Ordering::Relaxed);
            known
        });
        match tokio::time::timeout(REFRESH_TIMEOUT, looked).await {
            Ok(Some(known)) => known,
            Ok(None) | Err(_) => this.cached_patterns(),
        }
    }

    fn cached_patterns(&self) -> Arc<NumberPatterns> {
        Arc::clone(&self.last_read.lock().unwrap_or_else(PoisonError::into_inner).patterns)
    }

    /// Looks whether it changed, and reads it if so. What was read before stays when it cannot be read now.
    fn refresh(&self) -> Arc<NumberPatterns> {
        let before = self.last_read.lock().unwrap_or_else(PoisonError::into_inner).version.clone();
        let now = std::fs::metadata(&self.path).map(|metadata| FileVersion::from_metadata(&metadata));
        if now.is_ok() && now.as_ref().ok() == before.as_ref() {
            return self.cached_patterns();
        }
        let fresh = read_number_file(&self.path);
        let mut last = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        match fresh {
            Ok((known, stamp)) => {
                *last = NumberFileContents { patterns: Arc::new(known), version: Some(stamp), read_failed: false }
            }
            Err(why) => {
                if !last.read_failed {
                    let path = self.path.display();
                    tracing::warn!(%path, %why, "a list of numbers cannot be read; what was read last counts");
                }
                last.read_failed = true;
            }
        }
        Arc::clone(&last.patterns)
    }
}

fn read_number_file(path: &std::path::Path) -> std::io::Result<(NumberPatterns, FileVersion)> {
    let file = File::open(path)?;
    // Taken before the text: what is written meanwhile is seen at the next look.
    let stamp = FileVersion::from_metadata(&file.metadata()?);
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("it is larger than 32 MiB"));
    }
    Ok((NumberPatterns::parse_lines(&text), stamp))
}

/// Tells whether a file is the one that was read.
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

/// As it is compared: without the signs that people put between digits, in small letters.
fn normalize_number(number: &str) -> String {
    let kept = |c: &char| !c.is_whitespace() && !matches!(c, '-' | '(' | ')' | '/');
    number.chars().filter(kept).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(texts: &[&str]) -> NumberMatcher {
        NumberMatcher::parse("from", &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap().unwrap()
    }

    #[tokio::test]
    async fn exact_prefix_and_words() {
        let some = numbers(&["+49 (30) 123-456", "+1202*", "Anonymous"]);
        for (number, inside) in [
            ("+4930123456", true),
            ("+49301234567", false),
            ("+12025550143", true),
            ("+1202", true),
            ("+120", false),
            ("anonymous", true),
            ("", false),
        ] {
            assert_eq!(some.matches(number).await, inside, "{number}");
        }
        assert!(NumberMatcher::parse("from", &[]).unwrap().is_none());
        for wrong in ["", "*", "+49*30", "@/nowhere/at/all"] {
            assert_eq!(NumberMatcher::parse("from", &[wrong.to_owned()]).unwrap_err().0, "from", "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changed_and_kept_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vip.txt");
        std::fs::write(&path, "# friends\n+12025550143 # Ana\n\n+49*\r\n").unwrap();
        let list = numbers(&[&format!("@{}", path.display())]);
        assert!(list.matches("+12025550143").await && list.matches("+4930").await && !list.matches("+33").await);
        std::fs::write(folder.path().join("new"), "+33*\n").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(list.matches("+331").await && !list.matches("+12025550143").await);
        std::fs::remove_file(&path).unwrap();
        assert!(list.matches("+331").await, "what was read last counts");
        std::fs::write(&path, "+12025550143\n").unwrap();
        assert!(list.matches("+12025550143").await);
    }
}
