//! Whether a number is among those of a rule: exact, by its beginning, or in a file.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::rules::Refused;
use crate::base::supervise;

/// Room for a million numbers.
const LARGEST_FILE: u64 = 32 * 1024 * 1024;
/// How long a look at a file may take before what was read last counts.
const LOOKING: Duration = Duration::from_millis(100);

/// The numbers of one condition.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    fixed: Known,
    files: Vec<Arc<ListFile>>,
}

#[derive(Debug, Default)]
struct Known {
    exact: HashSet<String>,
    prefixes: Vec<String>,
}

#[derive(Debug)]
struct ListFile {
    path: PathBuf,
    read: Mutex<LastRead>,
    /// Somebody is looking: on a file system that hangs, one thread waits and no more.
    looking: AtomicBool,
}

/// A file as of the last reading.
#[derive(Debug, Default)]
struct LastRead {
    known: Arc<Known>,
    stamp: Option<Stamp>,
    /// It could not be read the last time, which was said.
    failed: bool,
}

impl Numbers {
    /// `None` when there is no condition.
    pub(super) fn of(key: &'static str, texts: &[String]) -> Result<Option<Self>, Refused> {
        let mut numbers = Self::default();
        for text in texts {
            if let Some(path) = text.trim().strip_prefix('@') {
                numbers.files.push(Arc::new(ListFile::open(path.into()).map_err(|why| (key, why))?));
            } else if !numbers.fixed.add(text) {
                let why = "expected a number (\"+4930123456\"), a beginning (\"+4930*\") or a file (\"@vip.txt\")";
                return Err((key, why.to_owned()));
            }
        }
        Ok((!texts.is_empty()).then_some(numbers))
    }

    /// Whether `number` is among them. A file that changed is read again; beside the request, and only for so long.
    pub(super) async fn contain(&self, number: &str) -> bool {
        let number = plain(number);
        if self.fixed.contains(&number) {
            return true;
        }
        for file in &self.files {
            if ListFile::latest(file).await.contains(&number) {
                return true;
            }
        }
        false
    }
}

impl Known {
    /// `false`: it is no number.
    fn add(&mut self, text: &str) -> bool {
        let text = plain(text);
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

    fn contains(&self, number: &str) -> bool {
        self.exact.contains(number) || self.prefixes.iter().any(|prefix| number.starts_with(prefix))
    }

    /// A number a line; what follows a `#` is a comment.
    fn of_lines(text: &str) -> Self {
        let mut known = Self::default();
        for line in text.lines() {
            known.add(line.split('#').next().unwrap_or_default());
        }
        known
    }
}

impl ListFile {
    fn open(path: PathBuf) -> Result<Self, String> {
        let (known, stamp) = read(&path).map_err(|why| format!("the file {}: {why}", path.display()))?;
        let read = LastRead { known: Arc::new(known), stamp: Some(stamp), failed: false };
        Ok(Self { path, read: Mutex::new(read), looking: AtomicBool::new(false) })
    }

    /// As it is now, if that can be found out shortly.
    async fn latest(this: &Arc<Self>) -> Arc<Known> {
        if this.looking.swap(true, Ordering::Relaxed) {
            return this.last_read();
        }
        let looking = Arc::clone(this);
        let looked = supervise::blocking(move || {
            let known = looking.refreshed();
            looking.looking.store(false, Ordering::Relaxed);
            known
        });
        match tokio::time::timeout(LOOKING, looked).await {
            Ok(Some(known)) => known,
            Ok(None) | Err(_) => this.last_read(),
        }
    }

    fn last_read(&self) -> Arc<Known> {
        Arc::clone(&self.read.lock().unwrap_or_else(PoisonError::into_inner).known)
    }

    /// Looks whether it changed, and reads it if so. What was read before stays when it cannot be read now.
    fn refreshed(&self) -> Arc<Known> {
        let before = self.read.lock().unwrap_or_else(PoisonError::into_inner).stamp.clone();
        let now = std::fs::metadata(&self.path).map(|metadata| Stamp::of(&metadata));
        if now.is_ok() && now.as_ref().ok() == before.as_ref() {
            return self.last_read();
        }
        let fresh = read(&self.path);
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match fresh {
            Ok((known, stamp)) => *last = LastRead { known: Arc::new(known), stamp: Some(stamp), failed: false },
            Err(why) => {
                if !last.failed {
                    let path = self.path.display();
                    tracing::warn!(%path, %why, "a list of numbers cannot be read; what was read last counts");
                }
                last.failed = true;
            }
        }
        Arc::clone(&last.known)
    }
}

fn read(path: &std::path::Path) -> std::io::Result<(Known, Stamp)> {
    let file = File::open(path)?;
    // Taken before the text: what is written meanwhile is seen at the next look.
    let stamp = Stamp::of(&file.metadata()?);
    let mut text = String::new();
    file.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(std::io::Error::other("it is larger than 32 MiB"));
    }
    Ok((Known::of_lines(&text), stamp))
}

/// Tells whether a file is the one that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<Timestamp>,
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        let modified = file.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        Self { len: file.len(), modified }
    }
}

/// As it is compared: without the signs that people put between digits, in small letters.
fn plain(number: &str) -> String {
    let kept = |c: &char| !c.is_whitespace() && !matches!(c, '-' | '(' | ')' | '/');
    number.chars().filter(kept).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(texts: &[&str]) -> Numbers {
        Numbers::of("from", &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap().unwrap()
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
            assert_eq!(some.contain(number).await, inside, "{number}");
        }
        assert!(Numbers::of("from", &[]).unwrap().is_none());
        for wrong in ["", "*", "+49*30", "@/nowhere/at/all"] {
            assert_eq!(Numbers::of("from", &[wrong.to_owned()]).unwrap_err().0, "from", "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changed_and_kept_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vip.txt");
        std::fs::write(&path, "# friends\n+12025550143 # Ana\n\n+49*\r\n").unwrap();
        let list = numbers(&[&format!("@{}", path.display())]);
        assert!(list.contain("+12025550143").await && list.contain("+4930").await && !list.contain("+33").await);
        std::fs::write(folder.path().join("new"), "+33*\n").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(list.contain("+331").await && !list.contain("+12025550143").await);
        std::fs::remove_file(&path).unwrap();
        assert!(list.contain("+331").await, "what was read last counts");
        std::fs::write(&path, "+12025550143\n").unwrap();
        assert!(list.contain("+12025550143").await);
    }
}
