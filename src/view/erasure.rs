//! The receipt of an erasure: what was erased and which copies remain. It contains nothing that identifies the person.

use serde::Serialize;

use super::UnreachedBackupView;

#[derive(Debug, Serialize)]
pub(crate) struct ErasureView {
    /// Time of the erasure, RFC 3339 in UTC.
    pub erased_at: String,
    /// Whether rows and lines were only counted.
    pub dry_run: bool,
    pub subject_kind: ErasureSubjectKind,
    /// The slug of the only company whose data was erased.
    pub company: Option<String>,
    /// Whether any data of the person was found.
    pub found: bool,
    /// Whether everything within reach was erased; `false` for a dry run.
    pub complete: bool,
    pub erased: ErasedRowsView,
    pub lines: ErasedLinesView,
    pub not_erased: NotErasedView,
    pub not_reached: NotReachedView,
}

/// What identifies the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErasureSubjectKind {
    Call,
    Phone,
}

/// Numbers of rows that were deleted, or as a dry run would be.
#[derive(Debug, Serialize)]
pub(crate) struct ErasedRowsView {
    pub events: u64,
    /// Sum of the sizes of the events' bodies.
    pub body_bytes: u64,
    /// Unfinished or dead deliveries of the events.
    pub cancelled_deliveries: u64,
    pub attempts: u64,
    /// Rows of calls and of chats.
    pub calls: u64,
    pub rejected: u64,
    pub invocations: u64,
    pub appointments: u64,
}

/// Numbers of lines that were overwritten, or as a dry run would be.
#[derive(Debug, Serialize)]
pub(crate) struct ErasedLinesView {
    pub log_lines: u64,
    /// Lines of the files of `file` handlers.
    pub file_lines: u64,
}

/// What was within reach and is not erased.
#[derive(Debug, Serialize)]
pub(crate) struct NotErasedView {
    /// Attempts that were still running when their event was erased.
    pub running_attempts: u64,
    /// Whether the write-ahead log was emptied and the body files of erased events were cleared.
    pub store_files_clear: bool,
    /// Bodies that could not be read, so that it is unknown whether they mention the person.
    pub unreadable_bodies: u64,
    /// Files of the store with data that no event names, for example of a newer database, each with the reason.
    pub unsearchable_files: Vec<String>,
    /// Log and handler files that could not be changed, with the error.
    pub failed_files: Vec<String>,
    /// Why the erasure is not in the erasure log, so that restoring an older backup would undo it.
    pub not_logged: Option<String>,
}

/// Copies that no command can erase.
#[derive(Debug, Serialize)]
pub(crate) struct NotReachedView {
    pub handlers: Vec<ExternalHandlerView>,
    /// Backups that were made before and still exist on this machine.
    pub backups: Vec<UnreachedBackupView>,
    pub elsewhere: &'static [&'static str],
}

/// A handler that delivered events of the person to another system.
#[derive(Debug, Serialize)]
pub(crate) struct ExternalHandlerView {
    pub handler: String,
    pub kind: &'static str,
    pub events: usize,
}
