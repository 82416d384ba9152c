//! The files of a store as files: their paths, who has locked them, and whether the paths still name what is open.

mod disk_reserve;
mod file_id;
mod inventory;
mod lock;
mod open_files;
mod set_aside;
mod url;
pub(super) mod watch;

pub(super) use self::disk_reserve::{DiskReserve, ReserveUse};
pub(super) use self::file_id::FileId;
pub(super) use self::inventory::{Inventory, log_kept_files};
pub(super) use self::lock::StoreLock;
pub(in crate::storage) use self::lock::unlocked_files;
pub(super) use self::open_files::OpenFiles;
pub(super) use self::set_aside::{set_aside_database, set_aside_log_without_database};
pub(crate) use self::url::SqliteUrl;
