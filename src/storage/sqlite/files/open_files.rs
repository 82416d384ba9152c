//! Compares the files that a receiver has open with the files at their paths.
//!
//! A file that is deleted, replaced or restored while the receiver runs stays open and can be written without any
//! error, but a restart opens whatever is at the path then: what was acknowledged in between would be lost.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::FileId;
use crate::storage::StoreError;
use crate::storage::sqlite::SqliteUrl;
use crate::storage::sqlite::bodies::{BodyFileWriter, body_file_path};

/// The open files of a database: of the events database with its body files, or of the invocation ledger.
pub(in crate::storage::sqlite) struct OpenFiles {
    /// What happens while they differ, for messages.
    consequence: &'static str,
    state: Mutex<OpenFilesState>,
    differ: AtomicBool,
}

struct OpenFilesState {
    database: OpenFile,
    log: OpenFile,
    log_index: OpenFile,
    bodies_folder: Option<OpenFile>,
    /// The file that new bodies are appended to, with its number.
    body_file: Option<(i64, OpenFile)>,
    /// What differed at the latest check, and what to do about it.
    difference: Option<String>,
    /// Whether [`OpenFiles::remove_log`] has separated the open files from the paths, which only a restart can end.
    is_log_removed: bool,
}

struct OpenFile {
    /// Absolute: a path that is relative to the working folder would follow the folder when that is renamed.
    path: PathBuf,
    id: FileId,
}

impl OpenFile {
    fn of_path(path: &Path) -> Result<Self, StoreError> {
        let opened = std::path::absolute(path).and_then(|path| Ok(Self { id: FileId::of_path(&path)?, path }));
        opened.map_err(|error| StoreError::unusable(format!("cannot read {}: {error}", path.display())))
    }

    /// How the file at the path differs; `None` when it is the open one.
    fn difference(&self) -> Option<String> {
        let path = self.path.display();
        match FileId::of_path(&self.path) {
            Ok(id) if id == self.id => None,
            Ok(_) => Some(format!("{path} was replaced by another file")),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(format!("{path} was deleted or moved away")),
            Err(error) => Some(format!("{path} cannot be read: {error}")),
        }
    }
}

impl OpenFiles {
    /// The files of the events database, which must be open already.
    pub(in crate::storage::sqlite) fn of_store(url: &SqliteUrl) -> Result<Self, StoreError> {
        let bodies_folder = Some(OpenFile::of_path(&url.bodies_folder())?);
        Self::new(url, bodies_folder, "events are answered 503, because a restart would not find them")
    }

    /// The files of the invocation ledger at `url`, which must be open already.
    pub(in crate::storage::sqlite) fn of_ledger(url: &SqliteUrl) -> Result<Self, StoreError> {
        let consequence = "custom functions are answered with their fallback, because a restart would run them again";
        Self::new(url, None, consequence)
    }

    fn new(url: &SqliteUrl, bodies_folder: Option<OpenFile>, consequence: &'static str) -> Result<Self, StoreError> {
        // SQLite follows symbolic links, and puts the other files next to the file that they lead to.
        let real_path = std::fs::canonicalize(url.path())
            .map_err(|error| StoreError::unusable(format!("cannot read {}: {error}", url.path().display())))?;
        let real_url = SqliteUrl::file(real_path);
        let state = OpenFilesState {
            database: OpenFile::of_path(url.path())?,
            log: OpenFile::of_path(&real_url.wal_path())?,
            log_index: OpenFile::of_path(&real_url.path_with_suffix("-shm"))?,
            bodies_folder,
            body_file: None,
            difference: None,
            is_log_removed: false,
        };
        Ok(Self { consequence, state: Mutex::new(state), differ: AtomicBool::new(false) })
    }

    /// Compares the files and their paths now, which takes about 1 µs per file. A change of the result is logged.
    ///
    /// # Errors
    /// The paths name other files, or none: the text says which, and what to do.
    pub(in crate::storage::sqlite) fn check(&self) -> Result<(), StoreError> {
        let mut state = self.lock_state();
        if !state.is_log_removed {
            let difference = state.find_difference().map(|difference| {
                format!(
                    "{difference}; {}: put back what was open, or restart the receiver to continue with the files \
                     that are there now",
                    self.consequence
                )
            });
            log_change(state.difference.as_deref(), difference.as_deref());
            state.difference = difference;
            self.differ.store(state.difference.is_some(), Ordering::Relaxed);
        }
        state.difference.clone().map_or(Ok(()), |difference| Err(StoreError::unavailable(difference)))
    }

    /// As [`OpenFiles::check`], with the body file that new bodies are appended to.
    pub(in crate::storage::sqlite) fn check_with_bodies(&self, bodies: &BodyFileWriter) -> Result<(), StoreError> {
        self.lock_state().set_body_file(bodies);
        self.check()
    }

    /// Compares only the body file that new bodies are appended to, unless it differs.
    pub(in crate::storage::sqlite) fn check_body_file(&self, bodies: &BodyFileWriter) -> Result<(), StoreError> {
        let mut state = self.lock_state();
        state.set_body_file(bodies);
        let is_in_place = state.body_file.as_ref().is_none_or(|(_, file)| file.difference().is_none());
        drop(state);
        if is_in_place { Ok(()) } else { self.check() }
    }

    /// Whether the files differed at the latest check.
    pub(in crate::storage::sqlite) fn differ(&self) -> bool {
        self.differ.load(Ordering::Relaxed)
    }

    /// What differed at the latest check, and what to do about it.
    pub(in crate::storage::sqlite) fn difference(&self) -> Option<String> {
        self.lock_state().difference.clone()
    }

    /// Whether the database is not at its path any more.
    pub(in crate::storage::sqlite) fn is_database_moved(&self) -> bool {
        self.lock_state().database.difference().is_some()
    }

    /// Whether the log of the open database lies next to another database. Whatever opens that one next, such as this
    /// receiver after a restart, would replay the log into it and damage it.
    pub(in crate::storage::sqlite) fn is_log_next_to_other_database(&self) -> bool {
        let state = self.lock_state();
        let database = &state.database;
        // SQLite replays no log into an empty file.
        let is_empty = std::fs::metadata(&database.path).is_ok_and(|file| file.len() == 0);
        !is_empty
            && FileId::of_path(&database.path).is_ok_and(|id| id != database.id)
            && state.log.difference().is_none()
    }

    /// Removes the log and its index from their paths. They stay open; call it when the log has been moved into the open
    /// database completely, so that nothing is lost.
    pub(in crate::storage::sqlite) fn remove_log(&self) {
        let mut state = self.lock_state();
        state.is_log_removed = true;
        for file in [&state.log, &state.log_index] {
            if file.difference().is_none()
                && let Err(error) = std::fs::remove_file(&file.path)
            {
                tracing::error!(path = %file.path.display(), %error, "log of a replaced database not removed");
            }
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, OpenFilesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenFilesState {
    fn set_body_file(&mut self, bodies: &BodyFileWriter) {
        let (number, file) = bodies.current_file();
        if self.body_file.as_ref().is_some_and(|(known, _)| *known == number) {
            return;
        }
        let path = std::path::absolute(body_file_path(bodies.folder(), number));
        if let (Ok(path), Ok(id)) = (path, FileId::of_file(file)) {
            self.body_file = Some((number, OpenFile { path, id }));
        }
    }

    fn find_difference(&self) -> Option<String> {
        let files = [&self.database, &self.log, &self.log_index].into_iter();
        let files = files.chain(&self.bodies_folder).chain(self.body_file.iter().map(|(_, file)| file));
        let differences: Vec<String> = files.filter_map(OpenFile::difference).collect();
        (!differences.is_empty()).then(|| differences.join(", "))
    }
}

fn log_change(before: Option<&str>, now: Option<&str>) {
    match now {
        Some(error) if before != now => tracing::error!(error, "store files replaced or missing"),
        None if before.is_some() => tracing::info!("store files in place again"),
        _ => {}
    }
}
