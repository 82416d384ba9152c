//! Whether events can be kept, and would be there tomorrow.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::output;
use super::DoctorFinding;
use crate::base::id::random_hex;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::telemetry::disk::{DiskSpace, nearest_existing_folder};

/// Days of busy traffic.
const MIN_FREE_BYTES: u64 = 1_000_000_000;

/// Tries it out: a file is written, synced and removed again.
pub(super) fn check_folder_writable(folder: &Path) -> DoctorFinding {
    const CHECK: &str = "storage folder";
    let existing = nearest_existing_folder(folder);
    let probe = existing.join(format!(".retell-webhook-doctor-{}", random_hex()));
    let written = File::create(&probe).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    // A file that was made although writing failed must not stay either.
    let _ = fs::remove_file(&probe);
    match written {
        Ok(()) if existing == folder => DoctorFinding::ok(CHECK, format!("{} can be written", folder.display())),
        Ok(()) => DoctorFinding::ok(CHECK, format!("{} is made at the first start", folder.display())),
        Err(error) => DoctorFinding::problem(
            CHECK,
            format!(
                "{} cannot be written: {error}; make it writable for this user, free space on its disk, or set storage.url \
                 to another place",
                existing.display()
            ),
        ),
    }
}

/// Whether the store is one this version can use.
pub(super) fn check_store(url: &SqliteUrl) -> DoctorFinding {
    const CHECK: &str = "store";
    if !url.path().exists() {
        return DoctorFinding::ok(CHECK, format!("{} is made at the first start", url.path().display()));
    }
    match SqliteStore::open_read_only(url, &Supervisor::default()) {
        Ok(_) => {
            DoctorFinding::ok(CHECK, format!("{}, {}", url.path().display(), output::format_bytes(url.size_bytes())))
        }
        Err(error) => DoctorFinding::problem(CHECK, error.to_string()),
    }
}

pub(super) fn check_disk_space(folder: &Path) -> Option<DoctorFinding> {
    const CHECK: &str = "disk space";
    let free = DiskSpace::of_filesystem(folder)?.free_bytes;
    let size = output::format_bytes(free);
    Some(if free < MIN_FREE_BYTES {
        DoctorFinding::warning(
            CHECK,
            format!("{size} left for {}: a full disk answers 503; free some", folder.display()),
        )
    } else {
        DoctorFinding::ok(CHECK, format!("{size} left"))
    })
}

/// What kind of file system it is; known where the system lists them, which is on Linux.
pub(super) fn check_file_system(folder: &Path) -> Option<DoctorFinding> {
    const CHECK: &str = "file system";
    let folder = fs::canonicalize(nearest_existing_folder(folder)).ok()?;
    let kind = file_system_type(&fs::read_to_string("/proc/mounts").ok()?, &folder)?;
    Some(match kind.as_str() {
        "tmpfs" | "ramfs" => DoctorFinding::warning(
            CHECK,
            format!("{kind}: it is memory, events are gone after a restart; set storage.url to a place on a disk"),
        ),
        "overlay" | "aufs" => DoctorFinding::warning(
            CHECK,
            format!("{kind}: it is the container's own, events go with the container; mount a volume for storage.url"),
        ),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "virtiofs" => DoctorFinding::warning(
            CHECK,
            format!(
                "{kind}: SQLite's log needs a local disk, it can be damaged over a network; set storage.url to one"
            ),
        ),
        _ => DoctorFinding::ok(CHECK, kind),
    })
}

/// The type of what is mounted closest above `folder`. Of several mounted at one place the last one is seen.
fn file_system_type(mounts: &str, folder: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut columns = line.split(' ').skip(1);
        Some((PathBuf::from(unescape_mount_path(columns.next()?)), columns.next()?))
    });
    let above = mounts.filter(|(place, _)| folder.starts_with(place));
    above.max_by_key(|(place, _)| place.components().count()).map(|(_, kind)| kind.to_owned())
}

/// Blanks are written as `\040`.
fn unescape_mount_path(text: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .iter()
        .fold(text.to_owned(), |text, (code, meant)| text.replace(code, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_mount_counts() {
        let mounts = "overlay / overlay rw 0 0\nproc /proc proc rw 0 0\n/dev/sda1 /my\\040data ext4 rw 0 0\n\
                      tmpfs /my\\040data/x tmpfs rw 0 0\nbad line\n/dev/sdb1 /my\\040data xfs rw 0 0\n";
        let kind = |folder: &str| file_system_type(mounts, Path::new(folder)).unwrap();
        assert_eq!(kind("/srv"), "overlay");
        assert_eq!(kind("/my data/y"), "xfs");
        assert_eq!(kind("/my data/x/y"), "tmpfs");
        assert_eq!(kind("/my datas"), "overlay");
        assert_eq!(file_system_type("", Path::new("/")), None);
    }
}
