//! Opening the store beside a running receiver.

use super::output::Failure;
use crate::base::supervise::Supervisor;
use crate::config::{Settings, Sources};
use crate::storage::sqlite::{SqliteStore, SqliteUrl};

pub(super) fn settings() -> Result<Settings, Failure> {
    Ok(Settings::load(&Sources::of_process()?)?)
}

pub(super) fn open() -> Result<SqliteStore, Failure> {
    let url = SqliteUrl::parse(&settings()?.storage.url)?;
    Ok(SqliteStore::open_read_only(&url, &Supervisor::default())?)
}
