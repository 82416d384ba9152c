//! The file or environment variable that each setting comes from.

use std::collections::BTreeMap;

use config::{File, FileFormat, Source, Value, ValueKind};

use super::{API_KEY_VARIABLES, ENV_ALIASES, config_files, is_truthy};
use super::{ConfigError, ConfigSources};

impl ConfigSources {
    /// For every key that a layer sets (`server.port`; `handlers` for all tables together), the file or the variable
    /// whose value is used. Other keys have their built-in values.
    ///
    /// # Errors
    /// A file that cannot be read or parsed. Values are not validated.
    pub fn origins(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut origins = BTreeMap::new();
        for file in config_files(self)? {
            let name = file.strip_prefix(".").unwrap_or(&file).display().to_string();
            let read = File::from(file).format(FileFormat::Toml).required(false).collect();
            for (key, value) in read.map_err(super::redact_error)? {
                record_origin(&mut origins, key, &value, &name);
            }
        }
        let set = |name: &str| self.env.get(name).is_some_and(|value| !value.is_empty());
        let mut from_env = |key: &str, name: String| origins.insert(key.to_owned(), name);
        for (name, key) in ENV_ALIASES.into_iter().filter(|(name, _)| set(name)) {
            from_env(key, name.to_owned());
        }
        if self.env.get("DEBUG").is_some_and(|value| is_truthy(value)) {
            from_env("log.level", "DEBUG".to_owned());
        }
        let keys = API_KEY_VARIABLES.into_iter().flat_map(|name| [name.to_owned(), format!("{name}_FILE")]);
        let keys: Vec<_> = keys.filter(|name| set(name)).collect();
        if !keys.is_empty() {
            from_env("security.keys", keys.join(", "));
        }
        for name in self.env.keys().filter(|name| set(name)) {
            if let Some(key) = name.to_lowercase().strip_prefix("retell_webhook__") {
                from_env(&key.replace("__", "."), name.clone());
            }
        }
        Ok(origins)
    }
}

fn record_origin(origins: &mut BTreeMap<String, String>, key: String, value: &Value, file: &str) {
    if let ValueKind::Table(fields) = &value.kind {
        for (name, value) in fields {
            record_origin(origins, format!("{key}.{name}"), value, file);
        }
    } else {
        origins.insert(key, file.to_owned());
    }
}
