//! The settings and the store of a command; a receiver may be running on the same store.

use std::sync::Arc;

use super::output::CliError;
use crate::base::supervise::Supervisor;
use crate::config::{ConfigSources, Settings};
use crate::storage::{self, Role, Store, StoreError};

pub(super) fn load_settings() -> Result<Settings, CliError> {
    Ok(Settings::load(&ConfigSources::from_process()?)?)
}

/// Opens the store for reading.
pub(super) fn open_store() -> Result<Arc<dyn Store>, CliError> {
    open_store_as(Role::Reader)
}

/// Opens the store of the settings.
pub(super) fn open_store_as(role: Role) -> Result<Arc<dyn Store>, CliError> {
    Ok(storage::open(&load_settings()?.storage.url, role, &Supervisor::default())?)
}

/// Opens the store of these settings for reading.
pub(super) fn open_store_of(settings: &Settings) -> Result<Arc<dyn Store>, StoreError> {
    storage::open(&settings.storage.url, Role::Reader, &Supervisor::default())
}
