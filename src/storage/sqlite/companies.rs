//! Company ids: every row refers to its company by number, and only this table knows the slugs.

use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql};

use crate::base::id::CompanyId;
use crate::storage::StoreError;

/// The id of the company with this slug, or `None` if it was never configured.
pub(super) fn find_id(conn: &Connection, slug: &str) -> rusqlite::Result<Option<CompanyId>> {
    conn.query_row("SELECT id FROM companies WHERE slug = ?1", [slug], |row| row.get(0)).optional()
}

pub(super) fn get_or_create_ids(conn: &Connection, slugs: &[String]) -> Result<Vec<CompanyId>, StoreError> {
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

/// All companies as (slug, id).
pub(super) fn list(conn: &Connection) -> rusqlite::Result<Vec<(String, CompanyId)>> {
    let mut companies = conn.prepare_cached("SELECT slug, id FROM companies ORDER BY id")?;
    companies.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

impl ToSql for CompanyId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.get()))
    }
}

impl FromSql for CompanyId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self::new)
    }
}
