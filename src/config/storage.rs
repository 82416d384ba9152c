use std::path::Path;

use serde::{Deserialize, Serialize};

/// `[storage]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct StorageSettings {
    /// `sqlite://<path>`, relative to the working folder unless it begins with a slash. Also `DATABASE_URL`.
    pub url: String,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self { url: "sqlite://data/retell-webhook.db".into() }
    }
}

impl StorageSettings {
    /// The folder that holds the database, and beside it the development key.
    pub(super) fn database_dir(&self) -> &Path {
        let path = self.url.strip_prefix("sqlite://").unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        Path::new(path).parent().unwrap_or(Path::new("."))
    }
}
