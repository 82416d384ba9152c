//! Identifies a file as opposed to its path.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;

/// Device and inode of a file. A path that leads to another file has another id; a file keeps its id when it is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage::sqlite) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file or folder at `path`; symbolic links are followed, as opening the path would.
    pub(in crate::storage::sqlite) fn of_path(path: &Path) -> io::Result<Self> {
        Ok(Self::of_metadata(&fs::metadata(path)?))
    }

    pub(in crate::storage::sqlite) fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::of_metadata(&file.metadata()?))
    }

    #[cfg(unix)]
    fn of_metadata(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Without inodes a replaced file cannot be recognized, unless it was created at another time.
    #[cfg(not(unix))]
    fn of_metadata(metadata: &Metadata) -> Self {
        let created = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        Self { device: 0, inode: created.map_or(0, |since| since.as_nanos() as u64) }
    }
}
