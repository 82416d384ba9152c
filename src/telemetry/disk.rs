//! Free space on the file system of a folder.

use std::path::Path;

/// Space on a file system as available to ordinary users, without the part reserved for root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

impl DiskSpace {
    /// Asks the operating system, which does not access the disk. `None` when it does not answer.
    #[cfg(unix)]
    #[must_use]
    pub(crate) fn of_filesystem(folder: &Path) -> Option<Self> {
        let disk = rustix::fs::statvfs(nearest_existing_folder(folder)).ok()?;
        #[allow(clippy::useless_conversion, reason = "the width of these differs between systems")]
        let [available, blocks, free, block_size] =
            [disk.f_bavail, disk.f_blocks, disk.f_bfree, disk.f_frsize].map(u64::from);
        // `free` includes the blocks reserved for root, `available` does not. Leaving them out of the total as well
        // makes a disk count as full when an ordinary user cannot write any more.
        let used = blocks.saturating_sub(free);
        Some(Self {
            free_bytes: available.saturating_mul(block_size),
            total_bytes: used.saturating_add(available).saturating_mul(block_size),
        })
    }

    /// Always `None`: not supported on this system.
    #[cfg(not(unix))]
    #[must_use]
    pub fn of_filesystem(_: &Path) -> Option<Self> {
        None
    }

    /// The free share in percent, rounded down; 100 for an empty file system.
    #[must_use]
    pub(crate) fn free_percent(self) -> u64 {
        self.free_bytes.saturating_mul(100).checked_div(self.total_bytes).unwrap_or(100)
    }
}

/// The folder itself, or its closest ancestor that exists: the file system on which it would be created.
#[must_use]
pub(crate) fn nearest_existing_folder(folder: &Path) -> &Path {
    let existing = folder.ancestors().find(|folder| folder.is_dir());
    // The last ancestor of a relative path is empty, which stands for the working folder.
    existing.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_measured_by_its_ancestor() {
        let here = tempfile::tempdir().unwrap();
        assert_eq!(nearest_existing_folder(&here.path().join("a/b")), here.path());
        assert_eq!(nearest_existing_folder(Path::new("no-such-folder/x")), Path::new("."));
    }

    #[cfg(unix)]
    #[test]
    fn this_disk_has_a_size() {
        let space = DiskSpace::of_filesystem(Path::new("no-such-folder/x")).unwrap();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes && space.free_percent() <= 100);
        assert_eq!(DiskSpace { free_bytes: 5, total_bytes: 0 }.free_percent(), 100);
    }
}
