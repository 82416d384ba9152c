//! Company ids: every row refers to its company by number, and only this table knows the slugs.

use rusqlite::{Connection, OptionalExtension};

use super::SqliteStore;
use crate::storage::StoreError;

impl SqliteStore {
    /// The id of the company with this slug, or `None` if it was never configured. Creates no id.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub async fn find_company_id(&self, slug: &str) -> Result<Option<i64>, StoreError> {
        let slug = slug.to_owned();
        let look_up = move |conn: &Connection| {
            let id = conn.query_row("SELECT id FROM companies WHERE slug = ?1", [&slug], |row| row.get(0));
            Ok(id.optional()?)
        };
        self.readers.read(move |reader| look_up(&reader.conn)).await
    }
}

pub(super) fn get_or_create_ids(conn: &Connection, slugs: &[String]) -> Result<Vec<i64>, StoreError> {
    // Ids are never removed, not even when a company leaves the settings: stored events still refer to them, and a
    // company that comes back finds its data again.
    let mut insert = conn.prepare_cached("INSERT OR IGNORE INTO companies (slug, origin) VALUES (?1, 'config')")?;
    let mut look_up = conn.prepare_cached("SELECT id FROM companies WHERE slug = ?1")?;
    let mut ids = Vec::new();
    for slug in slugs {
        insert.execute([slug])?;
        ids.push(look_up.query_row([slug], |row| row.get(0))?);
    }
    Ok(ids)
}
