//! Checks whether events can be stored, and whether they survive a restart.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::base::id::random_hex;
use crate::base::supervise::{Supervisor, run_blocking};
use crate::config::{StorageSettings, StorageUrl};
use crate::operations::text::format_bytes;
use crate::storage::{self, Role, StoreError};
use crate::telemetry::disk::{DiskSpace, nearest_existing_folder};
use crate::view::DoctorFinding;

/// Enough for several days of busy traffic.
const MIN_FREE_BYTES: u64 = 1_000_000_000;

/// Checks the folder of the database and, where it is another one, that of the development key.
pub(super) async fn check_folders_writable(settings: &StorageSettings) -> Vec<DoctorFinding> {
    let (store_folder, data_dir) = (settings.url.folder().to_owned(), settings.data_dir().to_owned());
    let work = move || {
        let mut findings = vec![check_folder_writable("storage folder", "storage.url", &store_folder)];
        if data_dir != store_folder {
            findings.push(check_folder_writable("data folder", "storage.data_dir", &data_dir));
        }
        findings
    };
    run_blocking(work).await.unwrap_or_default()
}

/// Checks the disk and the file system of the store's folder.
pub(super) async fn check_disk(folder: &Path) -> Vec<DoctorFinding> {
    let folder = folder.to_owned();
    let work = move || check_disk_space(&folder).into_iter().chain(check_file_system(&folder)).collect();
    run_blocking(work).await.unwrap_or_default()
}

/// Writes, syncs and removes a probe file: permissions alone do not show a full disk or a read-only file system.
fn check_folder_writable(check: &'static str, setting: &str, folder: &Path) -> DoctorFinding {
    if folder.exists() && !folder.is_dir() {
        let text = format!("{} is not a folder; set {setting} to another path", folder.display());
        return DoctorFinding::problem(check, text);
    }
    let existing = nearest_existing_folder(folder);
    let probe = existing.join(format!(".retell-webhook-doctor-{}", random_hex()));
    let written = File::create(&probe).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    // Also when writing failed: the file may have been created.
    let _ = fs::remove_file(&probe);
    match written {
        Ok(()) if existing == folder => DoctorFinding::ok(check, format!("{} is writable", folder.display())),
        Ok(()) => DoctorFinding::ok(check, format!("{} is created at the first start", folder.display())),
        Err(error) => DoctorFinding::problem(
            check,
            format!(
                "cannot write to {}: {error}; make it writable for this user, free space on its disk, or set \
                 {setting} to another path",
                existing.display()
            ),
        ),
    }
}

/// Opens the store read-only, which fails for a damaged store and for one of a newer version.
pub(super) async fn check_store(url: &StorageUrl) -> DoctorFinding {
    const CHECK: &str = "store";
    let location = url.location();
    if !storage::exists(url) {
        return DoctorFinding::ok(CHECK, format!("{location} is created at the first start"));
    }
    let opened_url = url.clone();
    let opened = run_blocking(move || storage::open(&opened_url, Role::Reader, &Supervisor::default())).await;
    let size = match opened {
        Some(Ok(store)) => store.size_bytes().await,
        Some(Err(error)) => Err(error),
        None => Err(StoreError::unavailable("the process is shutting down")),
    };
    match size {
        Ok(bytes) => DoctorFinding::ok(CHECK, format!("{location}, {}", format_bytes(bytes))),
        Err(error) => DoctorFinding::problem(CHECK, error.to_string()),
    }
}

fn check_disk_space(folder: &Path) -> Option<DoctorFinding> {
    const CHECK: &str = "disk space";
    let free = DiskSpace::of_filesystem(folder)?.free_bytes;
    let size = format_bytes(free);
    Some(if free < MIN_FREE_BYTES {
        DoctorFinding::warning(
            CHECK,
            format!(
                "{size} free for {}: when the disk is full, webhooks are answered 503; free some space",
                folder.display()
            ),
        )
    } else {
        DoctorFinding::ok(CHECK, format!("{size} free"))
    })
}

/// Checks the type of the file system. It is known on Linux only, from /proc/mounts.
fn check_file_system(folder: &Path) -> Option<DoctorFinding> {
    const CHECK: &str = "file system";
    let folder = fs::canonicalize(nearest_existing_folder(folder)).ok()?;
    let kind = file_system_type(&fs::read_to_string("/proc/mounts").ok()?, &folder)?;
    Some(match kind.as_str() {
        "tmpfs" | "ramfs" => DoctorFinding::warning(
            CHECK,
            format!(
                "{kind}: this file system is in memory, so events are lost at a restart; set \
                 storage.url to a path on a disk"
            ),
        ),
        "overlay" | "aufs" => DoctorFinding::warning(
            CHECK,
            format!(
                "{kind}: this file system belongs to the container, so events are lost with it; \
                 mount a volume for storage.url"
            ),
        ),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "virtiofs" => DoctorFinding::warning(
            CHECK,
            format!("{kind}: a network file system can corrupt the store; set storage.url to a path on a local disk"),
        ),
        _ => DoctorFinding::ok(CHECK, kind),
    })
}

/// The type of the innermost mount that contains `folder`. Of several mounts at the same place the last one is visible,
/// and `max_by_key` returns the last maximum.
fn file_system_type(mounts: &str, folder: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut columns = line.split(' ').skip(1);
        let mount_point = PathBuf::from(unescape_mount_path(columns.next()?));
        Some((mount_point, columns.next()?))
    });
    let containing = mounts.filter(|(mount_point, _)| folder.starts_with(mount_point));
    let (_, kind) = containing.max_by_key(|(mount_point, _)| mount_point.components().count())?;
    Some(kind.to_owned())
}

/// In /proc/mounts, white space and backslashes in paths are octal escapes such as `\040`.
fn unescape_mount_path(text: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::view::FindingLevel;

    #[tokio::test]
    async fn the_data_folder_is_checked_when_it_is_not_that_of_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = Settings::default().storage;
        storage.url = format!("sqlite://{}/db/events.db", folder.path().display()).parse().unwrap();
        let checks = |findings: &[DoctorFinding]| findings.iter().map(|it| (it.check, it.level)).collect::<Vec<_>>();
        let store_only = [("storage folder", FindingLevel::Ok)];
        assert_eq!(checks(&check_folders_writable(&storage).await), store_only);
        storage.data_dir = Some(folder.path().join("db"));
        assert_eq!(checks(&check_folders_writable(&storage).await), store_only);
        // A file in place of a folder is a problem for every user.
        std::fs::write(folder.path().join("file"), "").unwrap();
        storage.data_dir = Some(folder.path().join("file"));
        let findings = check_folders_writable(&storage).await;
        assert_eq!(checks(&findings)[1], ("data folder", FindingLevel::Problem));
        assert!(findings[1].text.contains("set storage.data_dir to another path"), "{}", findings[1].text);
    }

    #[test]
    fn the_innermost_mount_decides() {
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
