//! Whose request it is: the companies of the moment, and the one a route names.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::security::keys::ApiKey;
use crate::security::signature::Verifier;

/// A company with routes of its own.
#[derive(Clone, Debug)]
pub struct Company {
    /// The `company_id` of its rows in the store.
    pub id: i64,
    /// Its name in URLs.
    pub slug: Arc<str>,
    /// Ids of its agents; empty when they are not told.
    pub agent_ids: Vec<String>,
    /// Its only key is the development key: every real call is refused.
    pub has_development_key_only: bool,
    /// Checks its signatures; `None` when verification is off.
    pub verifier: Option<Verifier>,
    /// Its first key: signs what is passed on in its name.
    pub signing_key: Option<ApiKey>,
}

/// All companies, as of one reading of the settings. The first is the plain route's.
#[derive(Clone, Debug)]
pub struct CompanyDirectory {
    default: Arc<Company>,
    others: Vec<Arc<Company>>,
}

impl CompanyDirectory {
    /// The plain route's company, and the others.
    #[must_use]
    pub fn new(default: Company, others: Vec<Company>) -> Self {
        Self { default: Arc::new(default), others: others.into_iter().map(Arc::new).collect() }
    }

    /// The company of this slug; the plain route's for `None`.
    #[must_use]
    pub fn find(&self, slug: Option<&str>) -> Option<&Arc<Company>> {
        match slug {
            None => Some(&self.default),
            Some(slug) => self.iter().find(|company| &*company.slug == slug),
        }
    }

    /// All of them, the plain route's first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Company>> {
        std::iter::once(&self.default).chain(&self.others)
    }
}

/// The companies of the moment: every request looks once, and keeps what it saw.
#[derive(Clone)]
pub struct CurrentCompanyDirectory(Arc<RwLock<Arc<CompanyDirectory>>>);

impl CurrentCompanyDirectory {
    /// Begins with these.
    #[must_use]
    pub fn new(companies: CompanyDirectory) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(companies))))
    }

    /// The companies as of now.
    #[must_use]
    pub fn get(&self) -> Arc<CompanyDirectory> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Requests that begin from here on see these.
    pub fn replace(&self, companies: CompanyDirectory) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(companies);
    }
}

impl fmt::Debug for CurrentCompanyDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
