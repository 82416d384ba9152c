//! What the operating system says about the disk under a folder.

use std::path::Path;

/// How much room there is, for whoever may not use the part that is reserved for root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    /// In bytes.
    pub free_bytes: u64,
    /// In bytes.
    pub total_bytes: u64,
}

impl DiskSpace {
    /// Asks now, which touches no disk. `None` where the system does not say.
    #[cfg(unix)]
    #[must_use]
    pub(crate) fn of_filesystem(folder: &Path) -> Option<Self> {
        let disk = rustix::fs::statvfs(nearest_existing_folder(folder)).ok()?;
        #[allow(clippy::useless_conversion, reason = "the width of these differs between systems")]
        let (free, used, block) = (
            u64::from(disk.f_bavail),
            u64::from(disk.f_blocks).saturating_sub(u64::from(disk.f_bfree)),
            u64::from(disk.f_frsize),
        );
        let bytes = |blocks: u64| blocks.saturating_mul(block);
        Some(Self { free_bytes: bytes(free), total_bytes: bytes(used.saturating_add(free)) })
    }

    /// Not known on this system.
    #[cfg(not(unix))]
    #[must_use]
    pub fn of_filesystem(_: &Path) -> Option<Self> {
        None
    }

    /// The free share, in percent.
    #[must_use]
    pub(crate) fn free_percent(self) -> u64 {
        self.free_bytes.saturating_mul(100).checked_div(self.total_bytes).unwrap_or(100)
    }
}

/// The folder, or the closest one above it that exists: the one in which it would be made.
#[must_use]
pub(crate) fn nearest_existing_folder(folder: &Path) -> &Path {
    let existing = folder.ancestors().find(|folder| folder.is_dir());
    // A relative path ends in an empty one, which is the working folder.
    existing.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_to_be_is_judged_by_the_one_above() {
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
