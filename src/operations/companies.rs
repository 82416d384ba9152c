use crate::config::{CompanySettings, DEFAULT_COMPANY_SLUG, Settings};
use crate::live::webhook_path;
use crate::view::CompanyView;

/// The company of the default route, then the configured ones.
pub(crate) fn list_companies(settings: &Settings) -> Vec<CompanyView> {
    let default = CompanyView {
        slug: DEFAULT_COMPANY_SLUG.to_owned(),
        webhook_path: webhook_path(None),
        keys: settings.security.keys.len(),
        agent_ids: Vec::new(),
    };
    std::iter::once(default).chain(settings.companies.iter().map(company_view)).collect()
}

fn company_view(company: &CompanySettings) -> CompanyView {
    CompanyView {
        slug: company.slug.to_string(),
        webhook_path: webhook_path(Some(&company.slug)),
        keys: company.keys.len(),
        agent_ids: company.agents.clone(),
    }
}
