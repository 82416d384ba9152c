use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[storage]`: where events are stored.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct StorageSettings {
    /// Database file as `sqlite://<path>`; a relative path starts at the working directory. `?max_page_count=N` limits
    /// the file to N pages of 4096 bytes.
    pub url: String,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self { url: "sqlite://data/retell-webhook.db".into() }
    }
}

impl StorageSettings {
    /// The directory of the database file, which also holds the development key.
    pub(in crate::config) fn database_dir(&self) -> &Path {
        let path = self.url.strip_prefix("sqlite://").unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        Path::new(path).parent().unwrap_or(Path::new("."))
    }
}
