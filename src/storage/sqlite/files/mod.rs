//! The files of a store as files: their paths, who has locked them, and whether the paths still name what is open.

mod file_id;
mod lock;
mod url;

pub(super) use self::file_id::FileId;
pub(super) use self::lock::StoreLock;
pub(crate) use self::url::SqliteUrl;
