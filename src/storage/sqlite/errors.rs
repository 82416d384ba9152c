//! Sorts SQLite's errors: is the store away, or is it this one request?

use rusqlite::ErrorCode;

use super::SqliteUrl;
use crate::storage::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(failure, _) if is_unavailable(failure.code) => {
                Self::Unavailable(format!("{error}{}", advice(failure.code)))
            }
            _ => Self::InvalidData(error.to_string()),
        }
    }
}

fn is_unavailable(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::OperationInterrupted
            | ErrorCode::OperationAborted
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::PermissionDenied
    )
}

fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::DiskFull => " (free space on the disk that holds the store; intake resumes by itself)",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            " (another process holds a lock on the store; intake resumes when it lets go)"
        }
        _ => "",
    }
}

/// The store cannot be opened at all.
pub(super) fn unusable(url: &SqliteUrl, error: &rusqlite::Error) -> StoreError {
    StoreError::Unusable(format!("cannot open the store {}: {error}", url.path().display()))
}
