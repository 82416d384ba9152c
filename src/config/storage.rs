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
