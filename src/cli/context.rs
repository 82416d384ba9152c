//! Settings, store and principal of a command; a receiver may be running on the same store.

use std::sync::Arc;

use super::output::CliError;
use crate::base::supervise::Supervisor;
use crate::config::{ConfigSources, Settings};
use crate::operations::Principal;
use crate::storage::{self, Role, Store, StoreError};

/// A user who may run commands on this machine may do everything.
pub(super) const PRINCIPAL: &Principal = &Principal::LocalOperator;

pub(super) fn load_settings() -> Result<Settings, CliError> {
    Ok(Settings::load(&ConfigSources::from_process()?)?)
}

/// Opens the store for reading.
pub(super) fn open_store() -> Result<Arc<dyn Store>, CliError> {
    open_store_as(Role::Reader)
}

/// Opens the store of the settings.
pub(super) fn open_store_as(role: Role) -> Result<Arc<dyn Store>, CliError> {
    let settings = load_settings()?;
    let url = &settings.storage.url;
    if !storage::exists(url) {
        return Err(CliError::Message(format!(
            "no store at {}; start `retell-webhook serve` once in this folder, or set storage.url (DATABASE_URL) to the \
             path of a store",
            url.path().display()
        )));
    }
    Ok(open_store_of(&settings, role)?)
}

/// Opens the store of these settings.
pub(super) fn open_store_of(settings: &Settings, role: Role) -> Result<Arc<dyn Store>, StoreError> {
    storage::open(&settings.storage.url, role, &Supervisor::default())
}

/// Opens the store of these settings without another receiver on it. `supervisor` ends its threads.
pub(super) fn open_store_exclusively(
    settings: &Settings,
    supervisor: &Supervisor,
) -> Result<Arc<dyn Store>, StoreError> {
    storage::open(&settings.storage.url, Role::Receiver, supervisor)
}
