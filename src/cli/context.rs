//! Settings, store and principal of a command; a receiver may be running on the same store.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use clap::Args;

use super::output::CliError;
use crate::base::supervise::Supervisor;
use crate::config::{ConfigSources, FieldError, Settings, enter_folder};
use crate::operations::Principal;
use crate::storage::{self, Role, Store, StoreError};

/// A user who may run commands on this machine may do everything.
pub(super) const PRINCIPAL: &Principal = &Principal::LocalOperator;

/// The file of `--config`, set once before a command runs.
static CONFIG_FILE: OnceLock<PathBuf> = OnceLock::new();

/// Options of every command that say where settings are read from.
#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// Change to this folder first: config/, `.env` and relative paths are those of the folder
    // Commands have options with the names of these fields, so their ids are different.
    #[arg(id = "working_folder", short = 'C', value_name = "DIR", global = true)]
    folder: Option<PathBuf>,
    /// Read this file too; its settings override those of the files in config/
    #[arg(id = "settings_file", long = "config", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

impl SettingsArgs {
    /// Changes the working directory, and keeps the file for [`config_sources`].
    pub(super) fn apply(self) -> Result<(), CliError> {
        if let Some(folder) = &self.folder {
            enter_folder(folder).map_err(|error| CliError::Message(format!("-C: {error}")))?;
        }
        if let Some(file) = self.config {
            CONFIG_FILE.get_or_init(|| file);
        }
        Ok(())
    }
}

/// Where the settings of this process are read from.
pub(super) fn config_sources() -> Result<ConfigSources, FieldError> {
    Ok(ConfigSources { config_file: CONFIG_FILE.get().cloned(), ..ConfigSources::from_process()? })
}

pub(super) fn load_settings() -> Result<Settings, CliError> {
    Ok(Settings::load(&config_sources()?)?)
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
