//! Companies: the tenants of the receiver, and the snapshot of all that are configured.

pub(crate) mod dev_key;

use std::sync::Arc;

use crate::base::current::Current;
use crate::base::id::CompanyId;
use crate::security::keys::ApiKey;
use crate::security::signature::Verifier;

/// A tenant with its own keys and routes.
#[derive(Clone, Debug)]
pub struct Company {
    /// The value of `company_id` in the store.
    pub id: CompanyId,
    /// The name in route paths, commands and logs, for example `acme`; `default` for the default route.
    pub slug: Arc<str>,
    /// The configured agent ids; empty when the settings list none, which turns the agent check off.
    pub agent_ids: Vec<String>,
    /// Whether the development key is the only key: every request of Retell is then rejected.
    pub has_development_key_only: bool,
    /// Verifies signatures with this company's keys; `None` when verification is off.
    pub verifier: Option<Verifier>,
    /// The first configured key, which signs requests that handlers forward on behalf of the company.
    pub signing_key: Option<ApiKey>,
}

/// A snapshot of all configured companies. The first is the one of the default route.
#[derive(Clone, Debug)]
pub(crate) struct CompanyDirectory {
    default: Arc<Company>,
    others: Vec<Arc<Company>>,
}

impl CompanyDirectory {
    /// Creates a directory of the default route's company and the configured ones.
    #[must_use]
    pub(crate) fn new(default: Company, others: Vec<Company>) -> Self {
        Self { default: Arc::new(default), others: others.into_iter().map(Arc::new).collect() }
    }

    /// Finds the company with this slug; `None` finds the one of the default route.
    #[must_use]
    pub(crate) fn find(&self, slug: Option<&str>) -> Option<&Arc<Company>> {
        match slug {
            None => Some(&self.default),
            Some(slug) => self.iter().find(|company| &*company.slug == slug),
        }
    }

    /// Iterates over all companies, starting with the one of the default route.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Company>> {
        std::iter::once(&self.default).chain(&self.others)
    }
}

/// The current companies. A request takes one snapshot and keeps it, so a reload does not change it midway.
pub(crate) type CurrentCompanyDirectory = Current<CompanyDirectory>;
