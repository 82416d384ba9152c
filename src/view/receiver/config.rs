//! The settings of a receiver, without secrets.

use serde::Serialize;
use serde_json::Value;

/// All settings: as one tree, which is what serializes, and one by one.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct SettingsView {
    pub tree: Value,
    /// Every setting, those of a section before its subsections.
    #[serde(skip)]
    pub settings: Vec<SettingView>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct SettingView {
    /// The full name, such as `server.port`.
    pub key: String,
    /// The value; an array of objects for `[[tables]]`. Secrets are `***`.
    pub value: Value,
    /// Where it was set, such as `PORT` or a file; `built in` for a default.
    pub origin: String,
}
