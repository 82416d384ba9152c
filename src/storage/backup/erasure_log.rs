//! The erasure log: which persons were erased, as keyed digests, in a file next to the store and outside of its backups.
//! A backup that is older than an erasure contains the person; restoring it applies the erasure again.
//!
//! One line per call id or spelling of a phone number, each with a checksum: a damaged line would otherwise match no
//! one, and the person would come back without notice. Digests need the key of the store, which is in its database.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use highway::{HighwayHash, HighwayHasher, Key};
use serde::{Deserialize, Serialize};

use super::erased_persons::ErasureDigest;
use crate::base::id::{CompanyId, random_hex};
use crate::storage::{CallKey, DataSubject, IdentityKey, StoreError};

const HEADER_WORD: &str = "retell-webhook-erasures-1";
/// Length of the digits in a spelling of a number for which it is not searched: too many other numbers end with them.
const MIN_NATIONAL_DIGITS: usize = 7;
/// How long an erasure waits for another one.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Enough for some thousand calls.
#[cfg(target_os = "linux")]
const RESERVED_BYTES: u64 = 256 * 1024;

/// A place in an erasure log: what follows was erased afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureLogMark {
    /// Random, new with each file.
    pub log_id: String,
    pub offset: u64,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureLogEntry {
    pub at_ms: i64,
    /// The only company whose data was erased; `None` for all.
    pub company: Option<CompanyId>,
    pub subject: LoggedSubject,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggedSubject {
    /// Digits of a phone number. `prefix` is the country code if they do not include it.
    Number {
        digest: ErasureDigest,
        prefix: String,
    },
    Call {
        digest: ErasureDigest,
    },
}

/// The erasures of a log, and what is missing from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErasureLogContent {
    pub log_id: String,
    pub store_id: String,
    pub created_at_ms: i64,
    /// The entries with the place at which each begins.
    pub entries: Vec<(u64, ErasureLogEntry)>,
    /// Lines that cannot be read.
    pub damaged_lines: u64,
    pub size_bytes: u64,
}

/// Appends to the log. It is locked as long as this exists, so that a backup does not begin during an erasure.
pub struct ErasureLogWriter {
    file: File,
    path: PathBuf,
    key: IdentityKey,
    written_calls: BTreeSet<CallKey>,
    is_number_written: bool,
}

impl ErasureLogWriter {
    /// Opens or creates the log at `path`, and waits for another erasure.
    pub(in crate::storage) fn open(path: &Path, key: &IdentityKey, now_ms: i64) -> Result<Self, StoreError> {
        let started = Instant::now();
        loop {
            match open_locked(path, &key.store_id(), now_ms) {
                Ok(Some(file)) => {
                    reserve_space(&file).map_err(|error| cannot_write(path, &error))?;
                    return Ok(Self {
                        file,
                        path: path.to_owned(),
                        key: key.clone(),
                        written_calls: BTreeSet::new(),
                        is_number_written: false,
                    });
                }
                Ok(None) if started.elapsed() > LOCK_TIMEOUT => {
                    let message =
                        format!("another erasure is running ({} is locked); run it again later", path.display());
                    return Err(StoreError::busy(message));
                }
                Ok(None) => std::thread::sleep(RETRY_INTERVAL),
                Err(error) => return Err(cannot_write(path, &error)),
            }
        }
    }

    /// Appends what identifies the person and is not in the log since it was opened, and syncs it to disk.
    ///
    /// # Errors
    /// The log cannot be written: after a restore of an older backup the person would come back.
    pub(crate) fn append(&mut self, person: &DataSubject, now_ms: i64) -> Result<(), StoreError> {
        let mut lines = String::new();
        if let Some(number) = person.phone_number()
            && !self.is_number_written
        {
            let company = person.company_id().map_or("*".to_owned(), |company| company.get().to_string());
            let (country_code, national) = number.split_country_code();
            let mut spellings = vec![(number.digits(), "-")];
            if national.len() >= MIN_NATIONAL_DIGITS {
                spellings.push((national, std::str::from_utf8(country_code).unwrap_or_default()));
            }
            for (digits, prefix) in spellings {
                let digest = hex::encode(self.key.erasure_digest("number", digits));
                lines += &with_checksum(&format!("number {now_ms} {company} {digest} {prefix}"));
            }
        }
        let new_calls: Vec<_> = person.calls().difference(&self.written_calls).cloned().collect();
        for call in &new_calls {
            let digest = hex::encode(call_digest(&self.key, call));
            lines += &with_checksum(&format!("call {now_ms} {} {digest}", call.0.get()));
        }
        if !lines.is_empty() {
            self.file
                .write_all(lines.as_bytes())
                .and_then(|()| self.file.sync_all())
                .map_err(|error| cannot_write(&self.path, &error))?;
        }
        self.is_number_written |= person.phone_number().is_some();
        self.written_calls.extend(new_calls);
        Ok(())
    }
}

impl Drop for ErasureLogWriter {
    fn drop(&mut self) {
        // Explicitly: a child process that is just being started holds a copy of the descriptor.
        let _ = self.file.unlock();
    }
}

/// The present end of the log, which is created if it is missing; `None` while an erasure is running.
pub(in crate::storage) fn mark(
    path: &Path,
    key: &IdentityKey,
    now_ms: i64,
) -> Result<Option<ErasureLogMark>, StoreError> {
    let failed = |error: io::Error| cannot_write(path, &error);
    if read(path)?.is_none_or(|log| log.store_id != key.store_id()) {
        let Some(created) = open_locked(path, &key.store_id(), now_ms).map_err(failed)? else { return Ok(None) };
        let _ = created.unlock();
    }
    // Shared, so that two copies at the same time do not take each other for an erasure.
    let file = File::open(path).map_err(failed)?;
    if file.try_lock_shared().is_err() {
        return Ok(None);
    }
    let offset = file.metadata().map_err(failed)?.len();
    let content = read(path)?;
    let _ = file.unlock();
    Ok(content.map(|content| ErasureLogMark { log_id: content.log_id, offset }))
}

/// Whether nothing was appended since `mark`, and no erasure is running.
pub(in crate::storage) fn is_unchanged(path: &Path, mark: &ErasureLogMark) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let is_free = file.try_lock_shared().is_ok();
    let _ = file.unlock();
    is_free && file.metadata().is_ok_and(|file| file.len() == mark.offset)
}

/// Reads the log; `None` when it does not exist or its first line is damaged.
pub(in crate::storage) fn read(path: &Path) -> Result<Option<ErasureLogContent>, StoreError> {
    let mut text = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => Ok(parse(&String::from_utf8_lossy(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::unavailable(format!("cannot read {}: {error}", path.display()))),
    }
}

fn parse(text: &str) -> Option<ErasureLogContent> {
    let mut offset = 0;
    let mut content: Option<ErasureLogContent> = None;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len() as u64;
        let Some(content) = &mut content else {
            content = Some(parse_header(checked(line)?)?);
            continue;
        };
        match checked(line).and_then(parse_entry) {
            Some(entry) => content.entries.push((start, entry)),
            None => content.damaged_lines += 1,
        }
    }
    content.map(|content| ErasureLogContent { size_bytes: offset, ..content })
}

fn parse_header(line: &str) -> Option<ErasureLogContent> {
    let mut words = line.split(' ');
    if words.next() != Some(HEADER_WORD) {
        return None;
    }
    Some(ErasureLogContent {
        log_id: words.next()?.to_owned(),
        store_id: words.next()?.to_owned(),
        created_at_ms: words.next()?.parse().ok()?,
        entries: Vec::new(),
        damaged_lines: 0,
        size_bytes: 0,
    })
}

fn parse_entry(line: &str) -> Option<ErasureLogEntry> {
    let words: Vec<_> = line.split(' ').collect();
    let [kind, at_ms, company, digest, ref rest @ ..] = words[..] else { return None };
    let company = if company == "*" { None } else { Some(CompanyId::new(company.parse().ok()?)) };
    let mut bytes = ErasureDigest::default();
    hex::decode_to_slice(digest, &mut bytes).ok()?;
    let subject = match (kind, rest) {
        ("number", [prefix]) => LoggedSubject::Number { digest: bytes, prefix: prefix.replace('-', "") },
        ("call", []) => LoggedSubject::Call { digest: bytes },
        _ => return None,
    };
    Some(ErasureLogEntry { at_ms: at_ms.parse().ok()?, company, subject })
}

/// The digest under which the log has a call.
pub(in crate::storage) fn call_digest(key: &IdentityKey, (company, call_id): &CallKey) -> ErasureDigest {
    key.erasure_digest("call", format!("{} {call_id}", company.get()).as_bytes())
}

/// Opens the log for appending and locks it; `None` when it is locked. A log of another store, or one whose first line is
/// damaged, is moved aside.
fn open_locked(path: &Path, store_id: &str, now_ms: i64) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    loop {
        let mut file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut text = String::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_string(&mut text)?;
        if text.is_empty() {
            let header = format!("{HEADER_WORD} {} {store_id} {now_ms}", random_hex());
            file.write_all(with_checksum(&header).as_bytes())?;
            file.sync_all()?;
            sync_folder_of(path)?;
            return Ok(Some(file));
        }
        if parse(&text).is_some_and(|content| content.store_id == store_id) {
            // The end of a write that was interrupted must not become a part of the next line.
            if !text.ends_with('\n') {
                file.write_all(b"\n")?;
            }
            return Ok(Some(file));
        }
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".other-{now_ms}"));
        fs::rename(path, aside)?;
        let _ = file.unlock();
    }
}

/// Allocates blocks behind the end, so that a disk that fills up during an erasure does not keep it out of the log.
#[cfg(target_os = "linux")]
fn reserve_space(file: &File) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::KEEP_SIZE, file.metadata()?.len(), RESERVED_BYTES) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        allocated => Ok(allocated?),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve_space(_: &File) -> io::Result<()> {
    Ok(())
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn with_checksum(line: &str) -> String {
    format!("{line} {:016x}\n", checksum(line))
}

/// The line without its checksum, if that is right.
fn checked(line: &str) -> Option<&str> {
    let (line, found) = line.strip_suffix('\n')?.rsplit_once(' ')?;
    (u64::from_str_radix(found, 16).ok()? == checksum(line)).then_some(line)
}

/// Against damage only, so the key is not secret.
fn checksum(line: &str) -> u64 {
    HighwayHasher::new(Key([0; 4])).hash64(line.as_bytes())
}

fn cannot_write(path: &Path, error: &io::Error) -> StoreError {
    let text = format!(
        "cannot write {}: {error}; without it, restoring an older backup would bring the erased data back",
        path.display()
    );
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::full(text),
        _ => StoreError::unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(number: &str, call: &str) -> DataSubject {
        let mut person = DataSubject::new(Some(number.parse().unwrap()), None);
        person.add_calls([(CompanyId::new(1), call.to_owned())]);
        person
    }

    #[test]
    fn what_was_appended_is_read_and_contains_no_number_and_no_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db-erasures");
        let key = IdentityKey::from_bytes(&[5; 32]);
        let begin = mark(&path, &key, 1_000).unwrap().unwrap();
        assert!(is_unchanged(&path, &begin));
        let mut log = ErasureLogWriter::open(&path, &key, 1_000).unwrap();
        assert_eq!((mark(&path, &key, 1_001).unwrap(), is_unchanged(&path, &begin)), (None, false), "it is locked");
        log.append(&person("+12025550143", "call_secret"), 2_000).unwrap();
        log.append(&person("+12025550143", "call_secret"), 2_001).unwrap();
        drop(log);
        assert!(!is_unchanged(&path, &begin));
        let content = read(&path).unwrap().unwrap();
        assert_eq!((content.log_id.clone(), content.store_id), (begin.log_id, key.store_id()));
        assert_eq!((content.entries.len(), content.damaged_lines), (3, 0), "number, number without code, call");
        assert!(content.entries.iter().all(|(offset, entry)| *offset >= begin.offset && entry.at_ms == 2_000));
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("2025550143") && !text.contains("call_secret"), "{text}");
    }

    #[test]
    fn damaged_and_torn_lines_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db-erasures");
        let key = IdentityKey::from_bytes(&[5; 32]);
        let write = || {
            let mut log = ErasureLogWriter::open(&path, &key, 1_000).unwrap();
            log.append(&person("+12025550143", "call_1"), 2_000).unwrap();
        };
        write();
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 30;
        bytes[last] ^= 1;
        bytes.truncate(bytes.len() - 5);
        fs::write(&path, &bytes).unwrap();
        write();
        let content = read(&path).unwrap().unwrap();
        assert_eq!((content.entries.len(), content.damaged_lines), (5, 1));
    }

    #[test]
    fn the_log_of_another_store_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db-erasures");
        let [one, two] = [5, 6].map(|byte| IdentityKey::from_bytes(&[byte; 32]));
        let first = mark(&path, &one, 1_000).unwrap().unwrap();
        let second = mark(&path, &two, 1_001).unwrap().unwrap();
        assert_ne!(first.log_id, second.log_id);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
