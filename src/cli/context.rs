//! The settings and the store of a command; a receiver may be running on the same store.

use super::output::CliError;
use crate::base::supervise::Supervisor;
use crate::config::{ConfigSources, Settings};
use crate::storage::sqlite::{SqliteStore, SqliteUrl};

pub(super) fn load_settings() -> Result<Settings, CliError> {
    Ok(Settings::load(&ConfigSources::from_process()?)?)
}

pub(super) fn sqlite_url() -> Result<SqliteUrl, CliError> {
    Ok(SqliteUrl::parse(&load_settings()?.storage.url)?)
}

pub(super) fn open_store() -> Result<SqliteStore, CliError> {
    Ok(SqliteStore::open_read_only(&sqlite_url()?, &Supervisor::default())?)
}
