//! Reads, hashes and copies the files of a backup.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::manifest::{CHECKSUM_NAME, MANIFEST_NAME};
use crate::operations::OperationError;
use crate::storage::backup::CopyRun;

const BUFFER_BYTES: usize = 1024 * 1024;
const BYTES_PER_SYNC: u64 = 16 * 1024 * 1024;

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileDigest {
    /// Relative to the folder of the backup, with `/` between folders.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) sha256: String,
}

/// The relative paths of all files below a folder except the manifest, sorted.
pub(super) fn list_files(folder: &Path) -> Result<Vec<String>, OperationError> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(relative) = folders.pop() {
        let path = folder.join(&relative);
        for entry in fs::read_dir(&path).map_err(|error| io_error("read", &path, &error))? {
            let entry = entry.map_err(|error| io_error("read", &path, &error))?;
            let relative = relative.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(relative);
            } else {
                files.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    files.retain(|name| name != MANIFEST_NAME && name != CHECKSUM_NAME);
    files.sort();
    Ok(files)
}

pub(super) fn hash_file(folder: &Path, relative: &str, run: &CopyRun) -> Result<FileDigest, OperationError> {
    let path = folder.join(relative);
    let file = File::open(&path).map_err(|error| io_error("read", &path, &error))?;
    read_and_hash(file, relative, run, |_| Ok(())).map_err(|error| match error {
        PartError::Io(error) => io_error("read", &path, &error),
        PartError::Other(error) => error,
    })
}

/// Copies a file and returns the digest of what was copied. Runs of zeros become holes, as they were in the store.
pub(super) fn copy_file(from: &Path, to: &Path, relative: &str, run: &CopyRun) -> Result<FileDigest, OperationError> {
    let (from, to) = (from.join(relative), to.join(relative));
    if let Some(folder) = to.parent() {
        create_private_folder(folder).map_err(|error| io_error("create", folder, &error))?;
    }
    let source = File::open(&from).map_err(|error| io_error("read", &from, &error))?;
    let mut target = create_private_file(&to).map_err(|error| io_error("create", &to, &error))?;
    let mut unsynced_bytes = 0;
    let digest = read_and_hash(source, relative, run, |part| {
        if part.iter().all(|byte| *byte == 0) {
            target.seek(SeekFrom::Current(i64::try_from(part.len()).unwrap_or(0)))?;
        } else {
            target.write_all(part)?;
        }
        unsynced_bytes += part.len() as u64;
        if unsynced_bytes >= BYTES_PER_SYNC {
            target.sync_data()?;
            unsynced_bytes = 0;
        }
        Ok(())
    });
    let digest = digest.map_err(|error| match error {
        PartError::Io(error) => io_error("copy", &from, &error),
        PartError::Other(error) => error,
    })?;
    target
        .set_len(digest.size_bytes)
        .and_then(|()| target.sync_all())
        .map_err(|error| io_error("write", &to, &error))?;
    Ok(digest)
}

enum PartError {
    Io(io::Error),
    Other(OperationError),
}

fn read_and_hash(
    mut file: File,
    relative: &str,
    run: &CopyRun,
    mut on_part: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<FileDigest, PartError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    loop {
        let count = file.read(&mut buffer).map_err(PartError::Io)?;
        if count == 0 {
            return Ok(FileDigest { path: relative.to_owned(), size_bytes, sha256: hex::encode(hash.finalize()) });
        }
        hash.update(&buffer[..count]);
        on_part(&buffer[..count]).map_err(PartError::Io)?;
        size_bytes += count as u64;
        run.advance(count as u64).map_err(|error| PartError::Other(error.into()))?;
    }
}

pub(super) fn create_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

pub(super) fn create_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

pub(super) fn sync_folder(path: &Path) -> Result<(), OperationError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| io_error("sync", path, &error))
}

pub(super) fn io_error(what: &str, path: &Path, error: &io::Error) -> OperationError {
    OperationError::Io(io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display())))
}
