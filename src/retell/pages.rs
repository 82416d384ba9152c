//! Lists that Retell sends in pages.

use std::collections::HashSet;

use serde::Deserialize;

use super::error::RetellError;

/// Pages of one list. With 1,000 items each, more than any account has; a server that never ends a list stops here.
pub(super) const MAX_PAGES: usize = 200;

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct ListPage<T> {
    pub(crate) items: Vec<T>,
    pub(crate) has_more: bool,
    #[serde(default)]
    pub(crate) pagination_key: Option<String>,
}

/// Reads all pages; `read_page` gets the cursor of the page before.
pub(super) async fn read_all<T>(
    endpoint: &'static str,
    mut read_page: impl AsyncFnMut(Option<String>) -> Result<ListPage<T>, RetellError>,
) -> Result<Vec<T>, RetellError> {
    let invalid = |why: &str| Err(RetellError::invalid_response(endpoint, why));
    let mut items = Vec::new();
    let mut seen = HashSet::new();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let page = read_page(cursor).await?;
        items.extend(page.items);
        if !page.has_more {
            return Ok(items);
        }
        let Some(next) = page.pagination_key else { return invalid("a page has no cursor although more follow") };
        if !seen.insert(next.clone()) {
            return invalid("a page has the cursor of an earlier one");
        }
        cursor = Some(next);
    }
    invalid("the list does not end")
}
