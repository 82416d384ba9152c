//! The files in the bodies folder.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::storage::StoreError;
use crate::storage::sqlite::wal::SyncState;

/// Numbers that are tried for a new file. More than one only when files were put into the folder meanwhile.
const MAX_NEW_FILE_TRIES: usize = 1_000;

/// The numbers of the existing body files, ascending; none without the folder.
pub(in crate::storage::sqlite) fn list_file_numbers(folder: &Path) -> io::Result<Vec<i64>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        // A name that could not be read might be a number that must not be used again.
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".bodies")?.parse::<i64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(in crate::storage::sqlite) fn body_file_path(folder: &Path, number: i64) -> PathBuf {
    folder.join(format!("{number:08}.bodies"))
}

/// Syncing a file does not sync its name: without this a power cut could remove a new file with all its bodies.
pub(in crate::storage::sqlite) fn sync_folder(folder: &Path, sync: &SyncState) -> Result<(), StoreError> {
    let opened = File::open(folder).map_err(|error| {
        StoreError::unavailable(format!("cannot open the folder {} to sync it: {error}", folder.display()))
    })?;
    opened.sync_all().map_err(|error| sync.report(folder, &error))
}

/// Creates a file with a number of at least `number`. Never opens a file that exists: its bytes may be bodies that
/// another database names.
pub(super) fn create_file(folder: &Path, number: i64) -> io::Result<(i64, File)> {
    let mut options = OpenOptions::new();
    options.create_new(true).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut last_error = io::Error::from(io::ErrorKind::AlreadyExists);
    for number in (number..).take(MAX_NEW_FILE_TRIES) {
        match options.open(body_file_path(folder, number)) {
            Ok(file) => return Ok((number, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last_error = error,
            Err(error) => return Err(error),
        }
    }
    Err(last_error)
}

/// The length of a body file; `None` when it does not exist.
pub(super) fn file_bytes(path: &Path) -> io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(Some(file.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
