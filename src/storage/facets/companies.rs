//! The ids of companies in the store.

use async_trait::async_trait;

use crate::base::id::CompanyId;
use crate::storage::StoreError;

/// Gives every company slug an id, which rows refer to.
#[async_trait]
pub trait CompanyStore: Send + Sync {
    /// The ids of these companies, in the same order. A new company gets an id, which never changes.
    async fn get_or_create_company_ids(&self, slugs: Vec<String>) -> Result<Vec<CompanyId>, StoreError>;

    /// The id of the company with this slug, or `None` if it was never configured. Creates no id.
    async fn find_company_id(&self, slug: &str) -> Result<Option<CompanyId>, StoreError>;

    /// All companies as (slug, id), the one of the default route first.
    async fn list_companies(&self) -> Result<Vec<(String, CompanyId)>, StoreError>;
}
