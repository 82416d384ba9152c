use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::StorageUrl;

/// `[storage]`: where events are stored.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct StorageSettings {
    /// Database file as `sqlite://<path>`; a relative path starts at the working directory. `?max_page_count=N` limits
    /// the file to N pages of 4096 bytes.
    #[schemars(with = "String")]
    pub url: StorageUrl,
    /// Folder of the development key. Without it, the folder of the database.
    #[schemars(example = &"/var/lib/retell-webhook")]
    pub data_dir: Option<PathBuf>,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self { url: StorageUrl::file("data/retell-webhook.db"), data_dir: None }
    }
}

impl StorageSettings {
    /// The folder of files that are not part of the store, such as the development key.
    pub(crate) fn data_dir(&self) -> &Path {
        self.data_dir.as_deref().unwrap_or_else(|| self.url.folder())
    }
}
