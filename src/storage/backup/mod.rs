//! What copies of a store and their restoration exchange with the engine. The erasure log is the same for every engine.

mod copy_run;
mod erased_persons;
mod erasure_log;

pub(crate) use copy_run::CopyRun;
pub(super) use erased_persons::{ErasedNumbers, ErasureDigest};
pub(crate) use erasure_log::{ErasureLogContent, ErasureLogEntry, ErasureLogMark, ErasureLogWriter};
pub(super) use erasure_log::{
    LoggedSubject, call_digest, is_unchanged as is_erasure_log_unchanged, mark as mark_erasure_log,
    read as read_erasure_log,
};

pub(crate) use super::facets::BackupStore;

/// Name of the database in a copy of a store. The other files of the store are next to it, as in the place where a
/// receiver uses them.
pub(crate) const COPY_NAME: &str = "store.db";

/// A finished copy of a store.
#[derive(Clone, Debug)]
pub struct StoreCopy {
    /// Identifies the store, and the key under which its erasure log is written.
    pub store_id: String,
    /// When the state of the copy was current.
    pub taken_at_ms: i64,
    /// The end of the erasure log at that time.
    pub erasure_mark: ErasureLogMark,
    pub counts: CopyCounts,
    /// Ids of the events whose bodies were damaged or missing in the store already.
    pub damaged_events: Vec<String>,
    /// Number of events that retention removed from the store during the copy. They are not in the copy.
    pub removed_events: u64,
}

/// How many rows and bodies a copy contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CopyCounts {
    pub events: u64,
    /// Number of bodies in body files.
    pub large_bodies: u64,
    pub body_bytes: u64,
    pub invocations: u64,
}

/// The result of checking a copy by opening it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CopyCheck {
    pub(crate) store_id: String,
    pub(crate) counts: CopyCounts,
    /// What is wrong with the databases.
    pub(crate) problems: Vec<String>,
    /// Ids of the events whose bodies do not match their digest, and why.
    pub(crate) damaged_events: Vec<(String, String)>,
}

/// A backup that was made of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRecord {
    /// Its folder, as an absolute path.
    pub folder: String,
    pub taken_at_ms: i64,
}
