//! The keys a verb signs or verifies with: the configured ones, else the development key.

use super::output::Failure;
use crate::app;
use crate::config::Settings;
use crate::security::keys::ApiKey;
use crate::storage::sqlite::SqliteUrl;

pub(super) fn of(settings: &Settings) -> Result<Vec<ApiKey>, Failure> {
    if !settings.security.keys.is_empty() {
        return Ok(settings.security.keys.iter().map(ApiKey::new).collect());
    }
    let url = SqliteUrl::parse(&settings.storage.url)?;
    match app::read_dev_key(url.folder())? {
        Some(key) => Ok(vec![ApiKey::new(&key)]),
        None => Err(Failure::Because(format!(
            "there is no key to sign or verify with: set RETELL_API_KEY, or start `retell-webhook serve` once in this \
             folder, which makes {}",
            url.folder().join(app::DEV_KEY_FILE).display()
        ))),
    }
}

/// The key to sign with.
pub(super) fn first(settings: &Settings) -> Result<ApiKey, Failure> {
    of(settings)?.into_iter().next().ok_or_else(|| Failure::Because("there is no key to sign with".into()))
}
