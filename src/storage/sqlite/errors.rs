//! Classifies SQLite's errors by what a caller can do about them.

use std::io;
use std::path::Path;

use rusqlite::types::Type;
use rusqlite::{ErrorCode, Row};

use super::SqliteUrl;
use crate::storage::{StoreError, StoreErrorKind, UnknownValueError};

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        if let rusqlite::Error::FromSqlConversionFailure(_, _, cause) = &error
            && let Some(unknown) = cause.downcast_ref::<UnknownValueError>()
        {
            return unknown.clone().into();
        }
        let kind = classify(&error);
        Self::with_source(kind, format!("{error}{}", advice(kind)), error)
    }
}

/// Lets a function that reads a row fail with `?`. The column's position and type are not shown.
impl From<UnknownValueError> for rusqlite::Error {
    fn from(unknown: UnknownValueError) -> Self {
        Self::FromSqlConversionFailure(0, Type::Null, Box::new(unknown))
    }
}

/// A column of a row, named for an error.
pub(super) struct RowColumn {
    pub(super) table: &'static str,
    /// The key of the row, such as `handler crm and event seq 7`.
    pub(super) row: String,
    pub(super) column: &'static str,
}

impl RowColumn {
    pub(super) fn unknown_value(self, value: impl Into<String>) -> UnknownValueError {
        let Self { table, row, column } = self;
        UnknownValueError { table, row, column, value: value.into() }
    }
}

/// Reads a text column that holds one of a fixed set of names, without copying the text. `place` is called only for
/// the error.
pub(super) fn parse_column<T>(
    row: &Row,
    index: usize,
    from_name: impl FnOnce(&str) -> Option<T>,
    place: impl FnOnce() -> RowColumn,
) -> rusqlite::Result<T> {
    let name = row.get_ref(index)?.as_str()?;
    from_name(name).ok_or_else(|| place().unknown_value(name).into())
}

fn classify(error: &rusqlite::Error) -> StoreErrorKind {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) | rusqlite::Error::SqlInputError { error: failure, .. } => {
            classify_code(failure.code)
        }
        // SQLite's columns have no fixed type: the row holds something that no version of the receiver writes.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => StoreErrorKind::CorruptRow,
        _ => StoreErrorKind::Bug,
    }
}

fn classify_code(code: ErrorCode) -> StoreErrorKind {
    match code {
        ErrorCode::DiskFull => StoreErrorKind::Full,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreErrorKind::Busy,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreErrorKind::Corrupt,
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::ReadOnly
        | ErrorCode::OutOfMemory
        | ErrorCode::OperationInterrupted
        | ErrorCode::OperationAborted
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::PermissionDenied => StoreErrorKind::Unavailable,
        ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => StoreErrorKind::Constraint,
        _ => StoreErrorKind::Bug,
    }
}

fn advice(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Full => " (free space on the disk that holds the store; intake then resumes without a restart)",
        StoreErrorKind::Busy => {
            " (another process holds a lock on the store; intake resumes when it releases the lock)"
        }
        StoreErrorKind::Corrupt | StoreErrorKind::CorruptRow => {
            " (stop the receiver, and restore the store from a backup)"
        }
        _ => "",
    }
}

/// An error of the operating system on a file of the store, while it is opened.
pub(super) fn unusable_file(path: &Path, error: &io::Error) -> StoreError {
    StoreError::unusable(format!("cannot read and write {}: {error}", path.display()))
}

/// What the database engine said, without advice about the store.
pub(super) fn cause_text(error: &StoreError) -> String {
    std::error::Error::source(error).map_or_else(|| error.message().to_owned(), ToString::to_string)
}

/// An error while opening the store at `url`.
pub(super) fn unusable(url: &SqliteUrl, error: rusqlite::Error) -> StoreError {
    let message = format!("cannot open the store {}: {error}", url.path().display());
    StoreError::with_source(StoreErrorKind::Unusable, message, error)
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::time::Duration;

    use rusqlite::Connection;

    use super::*;

    fn failure(conn: &Connection, sql: &str) -> StoreError {
        conn.execute_batch(sql).unwrap_err().into()
    }

    #[test]
    fn errors_of_statements_are_classified_and_keep_their_source() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT").unwrap();
        let missing = failure(&conn, "INSERT INTO t (id) VALUES (1)");
        assert_eq!((missing.kind(), missing.is_retryable()), (StoreErrorKind::Constraint, false));
        assert!(missing.source().unwrap().downcast_ref::<rusqlite::Error>().is_some());
        assert!(missing.to_string().starts_with("storage cannot accept the data: NOT NULL constraint"), "{missing}");
        assert_eq!(failure(&conn, "INSERT INTO t VALUES ('x', 'y')").kind(), StoreErrorKind::Constraint);
        assert_eq!(failure(&conn, "SELECT nothing FROM t").kind(), StoreErrorKind::Bug);
        let prepared = StoreError::from(conn.prepare("SELEC 1").unwrap_err());
        assert_eq!((prepared.kind(), prepared.is_retryable()), (StoreErrorKind::Bug, false));
        let wrong_type = conn.query_row("SELECT 'text'", [], |row| row.get::<_, i64>(0)).unwrap_err();
        assert_eq!(StoreError::from(wrong_type).kind(), StoreErrorKind::Bug);
        let out_of_range = conn.query_row("SELECT -1", [], |row| row.get::<_, u32>(0)).unwrap_err();
        let out_of_range = StoreError::from(out_of_range);
        assert_eq!((out_of_range.kind(), out_of_range.is_retryable()), (StoreErrorKind::CorruptRow, false));
    }

    #[test]
    fn errors_of_the_file_are_classified_and_may_go_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("PRAGMA page_size = 4096; CREATE TABLE t (filler BLOB); PRAGMA max_page_count = 3").unwrap();
        let full = failure(&conn, "INSERT INTO t VALUES (zeroblob(100000))");
        assert_eq!((full.kind(), full.is_retryable()), (StoreErrorKind::Full, true));
        assert!(full.to_string().contains("free space on the disk"), "{full}");

        let other = Connection::open(&path).unwrap();
        other.busy_timeout(Duration::ZERO).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        let busy = failure(&other, "BEGIN IMMEDIATE");
        assert_eq!((busy.kind(), busy.is_retryable()), (StoreErrorKind::Busy, true));
        assert!(busy.to_string().contains("another process holds a lock"), "{busy}");

        let no_database = folder.path().join("no.db");
        std::fs::write(&no_database, [b'x'; 4096]).unwrap();
        let damaged = failure(&Connection::open(&no_database).unwrap(), "SELECT * FROM t");
        assert_eq!((damaged.kind(), damaged.is_retryable()), (StoreErrorKind::Corrupt, true));
        let absent = StoreError::from(Connection::open(folder.path().join("none/x.db")).unwrap_err());
        assert_eq!((absent.kind(), absent.is_retryable()), (StoreErrorKind::Unavailable, true));
    }
}
