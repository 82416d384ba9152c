//! Classifies SQLite's errors: the store is unavailable, or this one write has invalid data.

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

/// Whether the error has a cause outside the data. The sender gets 503 and sends again; anything else would fail
/// again in the same way, and the event is stored without its columns.
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
            // A damaged file is not the fault of the event, and an operator may restore it.
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
        ErrorCode::DiskFull => " (free space on the disk that holds the store; intake then resumes without a restart)",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            " (another process holds a lock on the store; intake resumes when it releases the lock)"
        }
        _ => "",
    }
}

/// An error while opening the store at `url`.
pub(super) fn unusable(url: &SqliteUrl, error: &rusqlite::Error) -> StoreError {
    StoreError::Unusable(format!("cannot open the store {}: {error}", url.path().display()))
}
