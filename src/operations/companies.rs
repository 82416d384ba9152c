use super::Principal;
use crate::config::{CompanySettings, DEFAULT_COMPANY_SLUG, Settings};
use crate::live::webhook_path;
use crate::privacy::redact;
use crate::view::CompanyView;

/// The company of the default route, then the configured ones.
pub(crate) fn list_companies(settings: &Settings, _principal: &Principal) -> Vec<CompanyView> {
    let default = CompanyView {
        slug: DEFAULT_COMPANY_SLUG.to_owned(),
        name: None,
        webhook_url: webhook_url(settings, None),
        keys: settings.security.keys.len(),
        agent_ids: Vec::new(),
    };
    let configured = settings.companies.iter().map(|company| company_view(settings, company));
    std::iter::once(default).chain(configured).collect()
}

fn company_view(settings: &Settings, company: &CompanySettings) -> CompanyView {
    CompanyView {
        slug: company.slug.to_string(),
        name: company.name.clone(),
        webhook_url: webhook_url(settings, Some(&company.slug)),
        keys: company.keys.len(),
        agent_ids: company.agents.clone(),
    }
}

fn webhook_url(settings: &Settings, slug: Option<&str>) -> String {
    redact::url(&settings.server.public_url(settings.server.port)) + &webhook_path(slug)
}
