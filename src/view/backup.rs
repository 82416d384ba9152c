//! Results of the commands about backups.

use serde::Serialize;

/// A backup that was made.
#[derive(Debug, Serialize)]
pub(crate) struct BackupView {
    /// Folder of the backup, as an absolute path.
    pub folder: String,
    /// When its state was that of the store. RFC 3339 in UTC.
    pub taken_at: String,
    pub events: u64,
    pub invocations: u64,
    pub size_bytes: u64,
    pub seconds: f64,
    /// Events that retention removed during the backup; they are not in it.
    pub removed_events: u64,
    /// Ids of the events whose bodies were damaged or missing in the store already.
    pub damaged_events: Vec<String>,
    /// Folders of older backups that were deleted, because more than the requested number existed.
    pub deleted_backups: Vec<String>,
}

/// The result of checking a backup.
#[derive(Debug, Serialize)]
pub(crate) struct BackupCheckView {
    pub folder: String,
    pub ok: bool,
    /// `None` when the manifest cannot be read.
    pub taken_at: Option<String>,
    pub events: u64,
    pub files: u64,
    pub size_bytes: u64,
    /// What is wrong, one text per file or event.
    pub problems: Vec<String>,
    /// Ids of the events whose bodies were damaged or missing in the store when the backup was made.
    pub damaged_events: Vec<String>,
}

/// A store that was restored.
#[derive(Debug, Serialize)]
pub(crate) struct RestoreView {
    pub store: String,
    /// When its state was current. RFC 3339 in UTC.
    pub taken_at: String,
    pub events: u64,
    /// The path of the database that was there before.
    pub moved_aside: Option<String>,
    pub erasures: ReappliedErasuresView,
}

/// The erasures after the backup that were made again.
#[derive(Debug, Serialize)]
pub(crate) struct ReappliedErasuresView {
    /// Whether all of them are known and were made again.
    pub complete: bool,
    /// What is not known or was not erased.
    pub not_reapplied: Vec<String>,
    /// Number of entries of the erasure log that are newer than the backup.
    pub log_entries: u64,
    pub events: u64,
    pub calls: u64,
    pub rejected: u64,
    pub invocations: u64,
    pub appointments: u64,
}

/// A backup that still contains an erased person.
#[derive(Debug, Serialize)]
pub(crate) struct UnreachedBackupView {
    pub folder: String,
    /// Time of the copied state, RFC 3339 in UTC.
    pub taken_at: String,
}
