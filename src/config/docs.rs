use serde::{Deserialize, Serialize};

/// `[docs]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct DocsSettings {
    /// Whether `/docs`, `/redoc` and `/api/v1/openapi.json` are served; `false` answers them with 404.
    pub enabled: bool,
}

impl Default for DocsSettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}
