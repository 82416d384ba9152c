//! The ring of refused requests.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::storage::{MOST_REJECTED, Rejected, RejectedId, Rejection, StoreError};

const COLUMNS: &str =
    "SELECT id, company, received_at_ms, source, method, path, headers, size_bytes, reason, diagnosis,
    body IS NOT NULL";

/// Keeps `request`; the oldest goes when there are too many. Ids ascend without gaps but those of failed commits.
pub(super) fn insert(conn: &Connection, request: &Rejection) -> Result<RejectedId, StoreError> {
    let headers = serde_json::to_string(&request.headers).unwrap_or_else(|_| "{}".into());
    conn.prepare_cached(
        "INSERT INTO rejected (company, received_at_ms, source, method, path, headers, size_bytes, reason, diagnosis, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        request.company,
        request.received_at_ms,
        request.source,
        request.method,
        request.path,
        headers,
        request.size_bytes,
        request.reason,
        request.diagnosis,
        request.body.as_deref(),
    ])?;
    let id = conn.last_insert_rowid();
    let most = i64::try_from(MOST_REJECTED).unwrap_or(i64::MAX);
    conn.prepare_cached("DELETE FROM rejected WHERE id <= ?1")?.execute([id - most])?;
    Ok(RejectedId(id))
}

/// The latest first.
pub(super) fn list(conn: &Connection, limit: usize) -> Result<Vec<Rejected>, StoreError> {
    let sql = format!("{COLUMNS} FROM rejected ORDER BY id DESC LIMIT ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn by_id(conn: &Connection, id: RejectedId) -> Result<Option<Rejected>, StoreError> {
    let sql = format!("{COLUMNS}, body FROM rejected WHERE id = ?1");
    let whole = |row: &Row| {
        let mut rejected = read(row)?;
        rejected.request.body = row.get::<_, Option<Vec<u8>>>(11)?.map(Into::into);
        Ok(rejected)
    };
    Ok(conn.prepare_cached(&sql)?.query_row([id.0], whole).optional()?)
}

fn read(row: &Row) -> rusqlite::Result<Rejected> {
    let headers: String = row.get(6)?;
    let request = Rejection {
        company: row.get(1)?,
        received_at_ms: row.get(2)?,
        source: row.get(3)?,
        method: row.get(4)?,
        path: row.get(5)?,
        headers: serde_json::from_str(&headers).unwrap_or_default(),
        size_bytes: row.get(7)?,
        reason: row.get(8)?,
        diagnosis: row.get(9)?,
        body: None,
    };
    Ok(Rejected { id: RejectedId(row.get(0)?), request, has_body: row.get(10)? })
}
