//! The keys a verb signs or verifies with: the configured ones, else the development key.

use super::output::CliError;
use crate::app;
use crate::config::{CompanySettings, DEFAULT_COMPANY_SLUG, Settings};
use crate::security::keys::ApiKey;
use crate::storage::sqlite::SqliteUrl;

/// The keys of one company, and those of all others with their slugs.
type OwnAndOtherKeys = (Vec<ApiKey>, Vec<(String, ApiKey)>);

/// Those of a company; for `None` the plain route's.
pub(super) fn company_keys(settings: &Settings, company: Option<&str>) -> Result<Vec<ApiKey>, CliError> {
    if let Some(slug) = company.filter(|slug| *slug != DEFAULT_COMPANY_SLUG) {
        let company = settings.companies.iter().find(|company| company.slug == slug);
        let company =
            company.ok_or_else(|| CliError::Message(format!("there is no company `{slug}` in [[companies]]")))?;
        return Ok(company.keys.iter().map(ApiKey::new).collect());
    }
    if !settings.security.keys.is_empty() {
        return Ok(settings.security.keys.iter().map(ApiKey::new).collect());
    }
    let url = SqliteUrl::parse(&settings.storage.url)?;
    match app::read_dev_key(url.folder())? {
        Some(key) => Ok(vec![ApiKey::new(&key)]),
        None => Err(CliError::Message(format!(
            "there is no key to sign or verify with: set RETELL_API_KEY, or start `retell-webhook serve` once in this \
             folder, which makes {}",
            url.folder().join(app::DEV_KEY_FILE).display()
        ))),
    }
}

/// Those of a company, and those of all others with their slugs.
pub(super) fn own_and_other_keys(settings: &Settings, company: Option<&str>) -> Result<OwnAndOtherKeys, CliError> {
    let own = company.unwrap_or(DEFAULT_COMPANY_SLUG);
    let plain = settings.security.keys.iter().map(|key| (DEFAULT_COMPANY_SLUG, key));
    let named = |company: &CompanySettings| -> Vec<(String, ApiKey)> {
        company.keys.iter().map(|key| (company.slug.clone(), ApiKey::new(key))).collect()
    };
    let plain = plain.map(|(slug, key)| (slug.to_owned(), ApiKey::new(key)));
    let all = plain.chain(settings.companies.iter().flat_map(named));
    Ok((company_keys(settings, company)?, all.filter(|(slug, _)| slug != own).collect()))
}

/// The key to sign with.
pub(super) fn signing_key(settings: &Settings, company: Option<&str>) -> Result<ApiKey, CliError> {
    company_keys(settings, company)?
        .into_iter()
        .next()
        .ok_or_else(|| CliError::Message("there is no key to sign with".into()))
}
