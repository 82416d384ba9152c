//! The keys a verb signs or verifies with: the configured ones, else the development key.

use super::output::Failure;
use crate::app;
use crate::config::{DEFAULT_SLUG, Settings};
use crate::security::keys::ApiKey;
use crate::storage::sqlite::SqliteUrl;

/// Those of a company; for `None` the plain route's.
pub(super) fn of(settings: &Settings, company: Option<&str>) -> Result<Vec<ApiKey>, Failure> {
    if let Some(slug) = company.filter(|slug| *slug != DEFAULT_SLUG) {
        let company = settings.companies.iter().find(|company| company.slug == slug);
        let company =
            company.ok_or_else(|| Failure::Because(format!("there is no company `{slug}` in [[companies]]")))?;
        return Ok(company.keys.iter().map(ApiKey::new).collect());
    }
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
pub(super) fn first(settings: &Settings, company: Option<&str>) -> Result<ApiKey, Failure> {
    of(settings, company)?.into_iter().next().ok_or_else(|| Failure::Because("there is no key to sign with".into()))
}
