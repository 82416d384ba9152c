//! The keys with which commands sign and verify: the configured keys, otherwise the development key.

use super::output::CliError;
use crate::app;
use crate::config::{CompanySettings, DEFAULT_COMPANY_SLUG, Settings};
use crate::security::keys::ApiKey;

/// The keys of one company, and the keys of all other companies with their slugs.
type OwnAndOtherKeys = (Vec<ApiKey>, Vec<(String, ApiKey)>);

/// The keys of a company; `None` stands for the default company, whose webhook URL has no slug.
pub(super) fn company_keys(settings: &Settings, company: Option<&str>) -> Result<Vec<ApiKey>, CliError> {
    if let Some(slug) = company.filter(|slug| *slug != DEFAULT_COMPANY_SLUG) {
        let company = settings.companies.iter().find(|company| company.slug == slug);
        let company = company.ok_or_else(|| {
            CliError::Message(format!("no company `{slug}` in [[companies]]; check the slug in the configuration"))
        })?;
        return Ok(company.keys.iter().map(ApiKey::new).collect());
    }
    if !settings.security.keys.is_empty() {
        return Ok(settings.security.keys.iter().map(ApiKey::new).collect());
    }
    let data_dir = settings.storage.data_dir();
    match app::read_dev_key(data_dir)? {
        Some(key) => Ok(vec![ApiKey::new(&key)]),
        None => Err(CliError::Message(format!(
            "no key to sign or verify with: set RETELL_API_KEY, or start `retell-webhook serve` once in this folder, \
             which creates the development key {}",
            data_dir.join(app::DEV_KEY_FILE).display()
        ))),
    }
}

pub(super) fn own_and_other_keys(settings: &Settings, company: Option<&str>) -> Result<OwnAndOtherKeys, CliError> {
    let own = company.unwrap_or(DEFAULT_COMPANY_SLUG);
    let keys_of_company = |company: &CompanySettings| -> Vec<(String, ApiKey)> {
        company.keys.iter().map(|key| (company.slug.clone(), ApiKey::new(key))).collect()
    };
    let default_keys = settings.security.keys.iter().map(|key| (DEFAULT_COMPANY_SLUG.to_owned(), ApiKey::new(key)));
    let all_keys = default_keys.chain(settings.companies.iter().flat_map(keys_of_company));
    let other_keys = all_keys.filter(|(slug, _)| slug != own).collect();
    Ok((company_keys(settings, company)?, other_keys))
}

/// The first key of the company, which is the one that Retell signs with.
pub(super) fn signing_key(settings: &Settings, company: Option<&str>) -> Result<ApiKey, CliError> {
    company_keys(settings, company)?
        .into_iter()
        .next()
        .ok_or_else(|| CliError::Message("no key to sign with: the company has no keys in the configuration".into()))
}
