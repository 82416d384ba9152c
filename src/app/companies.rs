//! Makes the companies of the settings, with their ids in the store and their keys.

use super::BuildError;
use crate::base::id::CompanyId;
use crate::config::{CompanySettings, DEFAULT_COMPANY_SLUG, Settings};
use crate::security::keys::ApiKey;
use crate::security::signature::Verifier;
use crate::storage::{CompanyStore, DEFAULT_COMPANY_ID};
use crate::tenants::{Company, CompanyDirectory, dev_key};

/// Loads the companies of the settings with their ids in the store. The first is the company of the default route.
pub(super) async fn load_companies(
    settings: &Settings,
    store: &dyn CompanyStore,
) -> Result<CompanyDirectory, BuildError> {
    let mut slugs = vec![DEFAULT_COMPANY_SLUG.to_owned()];
    slugs.extend(settings.companies.iter().map(|company| company.slug.to_string()));
    let ids = store.get_or_create_company_ids(slugs).await?;
    let (keys, has_development_key_only) = default_keys(settings)?;
    let verifier = |keys: Vec<ApiKey>| {
        let security = &settings.security;
        security.verify.then(|| Verifier::new(keys).with_tolerance_ms(security.signature_tolerance_ms))
    };
    let company = |id: &CompanyId, table: &CompanySettings| {
        let keys: Vec<_> = table.keys.iter().map(ApiKey::new).collect();
        Company {
            id: *id,
            slug: table.slug.as_str().into(),
            agent_ids: table.agents.clone(),
            has_development_key_only: false,
            signing_key: keys.first().cloned(),
            verifier: verifier(keys),
        }
    };
    let default = Company {
        id: ids.first().copied().unwrap_or(DEFAULT_COMPANY_ID),
        slug: DEFAULT_COMPANY_SLUG.into(),
        agent_ids: Vec::new(),
        has_development_key_only,
        signing_key: keys.first().cloned(),
        verifier: verifier(keys),
    };
    let others = ids.iter().skip(1).zip(&settings.companies).map(|(id, table)| company(id, table));
    Ok(CompanyDirectory::new(default, others.collect()))
}

/// Returns the keys of the default route, and whether the development key is the only one.
fn default_keys(settings: &Settings) -> Result<(Vec<ApiKey>, bool), BuildError> {
    let keys = &settings.security.keys;
    if !keys.is_empty() || !settings.security.verify {
        return Ok((keys.iter().map(ApiKey::new).collect(), keys.is_empty()));
    }
    let key = dev_key::read_or_create_dev_key(settings.storage.data_dir()).map_err(BuildError::DevKey)?;
    Ok((vec![ApiKey::new(&key)], true))
}
