//! Companies have numbers, by which every row names them.

use rusqlite::Connection;

use crate::storage::StoreError;

pub(super) fn ids(conn: &Connection, slugs: &[String]) -> Result<Vec<i64>, StoreError> {
    let mut insert = conn.prepare_cached("INSERT OR IGNORE INTO companies (slug, origin) VALUES (?1, 'config')")?;
    let mut look_up = conn.prepare_cached("SELECT id FROM companies WHERE slug = ?1")?;
    let mut ids = Vec::new();
    for slug in slugs {
        insert.execute([slug])?;
        ids.push(look_up.query_row([slug], |row| row.get(0))?);
    }
    Ok(ids)
}
