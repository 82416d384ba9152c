//! Opening the store beside a running receiver.

use super::output::Failure;
use crate::base::supervise::Supervisor;
use crate::config::{Settings, Sources};
use crate::storage::sqlite::{SqliteStore, SqliteUrl};

pub(super) fn settings() -> Result<Settings, Failure> {
    Ok(Settings::load(&Sources::of_process()?)?)
}

pub(super) fn sqlite_url() -> Result<SqliteUrl, Failure> {
    Ok(SqliteUrl::parse(&settings()?.storage.url)?)
}

pub(super) fn open() -> Result<SqliteStore, Failure> {
    Ok(SqliteStore::open_read_only(&sqlite_url()?, &Supervisor::default())?)
}
