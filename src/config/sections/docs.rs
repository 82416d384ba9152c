use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[docs]`: whether the receiver serves its own API documentation.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct DocsSettings {
    /// Whether `/docs` (Swagger UI), `/redoc` and `/api/v1/openapi.json` are served; `false` answers them with 404.
    pub enabled: bool,
}

impl Default for DocsSettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}
