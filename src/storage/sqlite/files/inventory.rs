//! Lists the files of a store, and those next to it that a receiver does not use.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::SqliteUrl;
use crate::storage::{StoreFile, StoreFinding};

/// The files in use, by what follows the path of the database.
const USED_FILES: [(&str, &str); 9] = [
    ("", "database"),
    ("-wal", "write-ahead log of the database"),
    ("-shm", "index of that log"),
    ("-ledger", "invocation ledger"),
    ("-ledger-wal", "write-ahead log of the ledger"),
    ("-ledger-shm", "index of that log"),
    (".sync-state", "state of syncs and checkpoints"),
    (".reserve", "disk space reserved for erasures"),
    ("-erasures", "erasure log"),
];

/// Files that a receiver has kept because it could not use them: what their names contain, what they hold, and what to
/// do.
const KEPT_FILES: [(&str, &str, &str); 4] = [
    (
        "-ledger.damaged-",
        "damaged invocation ledger",
        "invocations of custom functions before it was set aside are only there; delete it when they are not needed",
    ),
    (
        "-wal.damaged-",
        "copy of a damaged write-ahead log",
        "transactions in it are missing from the store: restore a backup, or delete the copy when they are not needed",
    ),
    (".damaged-", "copy of the database to which a damaged log belongs", "delete it together with the copy of the log"),
    (
        "-wal.orphaned-",
        "write-ahead log whose database was missing",
        "if the database was moved away, stop the receiver, put the database back, and rename this file to that of its \
         log; otherwise delete it",
    ),
];

/// Files of restores: what their names contain, what they are, and what to do.
const RESTORE_FILES: [(&str, &str, &str); 3] = [
    (
        ".before-restore-",
        "store that a restore has moved aside",
        "erasures do not reach it; delete it when it is not needed",
    ),
    ("-restoring", "left by a restore that was interrupted", "delete it, or restore again"),
    ("-erasures.other-", "erasure log of another store", "move it to that store"),
];

/// The files of the store, and findings about those that a receiver does not use.
#[derive(Default)]
pub(in crate::storage::sqlite) struct Inventory {
    pub(in crate::storage::sqlite) files: Vec<StoreFile>,
    /// Files that hold data which the store lacks.
    pub(in crate::storage::sqlite) kept: Vec<StoreFinding>,
    /// Other files whose names begin like those of the store, such as an operator's copies.
    pub(in crate::storage::sqlite) unknown: Vec<StoreFinding>,
}

impl Inventory {
    /// Lists the files by name. Without the folder there are none.
    pub(in crate::storage::sqlite) fn read(url: &SqliteUrl) -> io::Result<Self> {
        let mut inventory = Self::default();
        let Some(name) = url.path().file_name().and_then(|name| name.to_str()) else { return Ok(inventory) };
        for entry in sorted_entries(url.folder())? {
            if let Some(suffix) = entry.strip_prefix(name)
                && suffix != "-bodies"
            {
                inventory.add(&url.folder().join(&entry), suffix);
            }
        }
        for entry in sorted_entries(&url.bodies_folder())? {
            inventory.add_body_file(&url.bodies_folder().join(&entry), &entry);
        }
        Ok(inventory)
    }

    fn add(&mut self, path: &Path, suffix: &str) {
        let kept = KEPT_FILES.iter().find(|(part, _, _)| suffix.contains(part));
        let used = USED_FILES.iter().find(|(used, _)| *used == suffix);
        let restore = RESTORE_FILES.iter().find(|(part, _, _)| suffix.contains(part));
        let content = match (used, kept, restore) {
            (Some((_, content)), _, _) => content,
            (None, Some((_, content, advice)), _) => {
                self.kept.push(StoreFinding::problem(format!("{}: {content}; {advice}", path.display())));
                content
            }
            (None, None, Some((_, content, advice))) => {
                self.unknown.push(StoreFinding::warning(format!("{}: {content}; {advice}", path.display())));
                content
            }
            // The database of another store may have a longer name.
            (None, None, None) if suffix.starts_with(['.', '-']) => {
                self.add_unknown(path);
                "not used by the receiver"
            }
            (None, None, None) => return,
        };
        self.add_file(path, content);
    }

    fn add_body_file(&mut self, path: &Path, name: &str) {
        let is_body_file = name.strip_suffix(".bodies").is_some_and(|number| number.parse::<i64>().is_ok());
        if !is_body_file {
            self.add_unknown(path);
        }
        self.add_file(path, if is_body_file { "body file" } else { "not used by the receiver" });
    }

    fn add_unknown(&mut self, path: &Path) {
        let text = format!("{}: not used by the receiver; move it away", path.display());
        self.unknown.push(StoreFinding::warning(text));
    }

    fn add_file(&mut self, path: &Path, content: &'static str) {
        let size_bytes = fs::metadata(path).map_or(0, |file| file.len());
        self.files.push(StoreFile { path: path.display().to_string(), size_bytes, content });
    }
}

/// Logs the files that earlier starts have set aside, until an operator removes them.
pub(in crate::storage::sqlite) fn log_kept_files(url: &SqliteUrl) {
    for kept in Inventory::read(url).unwrap_or_default().kept {
        tracing::warn!(advice = kept.text, "unused store file");
    }
}

fn sorted_entries(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_next_to_the_store_are_recognized_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let url = SqliteUrl::file(folder.path().join("events.db"));
        assert!(Inventory::read(&url).unwrap().files.is_empty());
        fs::create_dir(url.bodies_folder()).unwrap();
        let names = [
            "events.db",
            "events.db-wal",
            "events.db-wal.damaged-17",
            "events.db.damaged-17",
            "events.db-wal.orphaned-3",
            "events.db-ledger.damaged-5",
            "events.db-ledger.damaged-5-wal",
            "events.db-ledger-wal.damaged-5",
            "events.db.bak",
            "events.db-erasures",
            "events.db.before-restore-20261130T000000.000Z-ledger-wal",
            "events.db2",
            "other.db",
            "events.db-bodies/00000001.bodies",
            "events.db-bodies/notes.txt",
        ];
        for name in names {
            fs::write(folder.path().join(name), "123").unwrap();
        }
        let inventory = Inventory::read(&url).unwrap();
        let content_of = |name: &str| {
            let file = inventory.files.iter().find(|file| file.path == folder.path().join(name).display().to_string());
            file.map(|file| (file.size_bytes, file.content))
        };
        assert_eq!(content_of("events.db"), Some((3, "database")));
        assert_eq!(content_of("events.db-ledger.damaged-5-wal"), Some((3, "damaged invocation ledger")));
        assert_eq!(content_of("events.db-ledger-wal.damaged-5"), Some((3, "copy of a damaged write-ahead log")));
        assert_eq!(content_of("events.db-bodies/00000001.bodies"), Some((3, "body file")));
        assert_eq!((content_of("events.db2"), content_of("other.db")), (None, None));
        assert_eq!((inventory.kept.len(), inventory.unknown.len(), inventory.files.len()), (6, 3, 13));
        let old_ledger = "events.db.before-restore-20261130T000000.000Z-ledger-wal";
        assert_eq!(content_of("events.db-erasures"), Some((3, "erasure log")));
        assert_eq!(content_of(old_ledger), Some((3, "store that a restore has moved aside")));
    }
}
