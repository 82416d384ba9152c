//! The latest rejected requests, as a ring of fixed size.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::errors::{RowColumn, parse_column};
use crate::security::rejection_reason::RejectionReason;
use crate::storage::{
    MAX_REJECTED_REQUESTS, RejectedFilter, RejectedId, RejectedRequest, StoreError, StoredRejectedRequest,
};

const SELECT_COLUMNS: &str =
    "SELECT id, company, received_at_ms, source, method, path, headers, size_bytes, reason, diagnosis,
    body IS NOT NULL";

/// Stores `request` and deletes the oldest one when there are more than [`MAX_REJECTED_REQUESTS`].
pub(super) fn insert(conn: &Connection, request: &RejectedRequest) -> Result<RejectedId, StoreError> {
    let headers = serde_json::to_string(&request.headers).unwrap_or_else(|_| "{}".into());
    conn.prepare_cached(
        "INSERT INTO rejected (company, received_at_ms, source, method, path, headers, size_bytes, reason, diagnosis,
           body)
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
        request.reason.as_str(),
        request.diagnosis,
        request.body.as_deref(),
    ])?;
    let id = conn.last_insert_rowid();
    // By id instead of by counting rows: ids ascend without gaps, so this leaves the latest ones, or fewer after a
    // purge.
    let capacity = i64::try_from(MAX_REJECTED_REQUESTS).unwrap_or(i64::MAX);
    conn.prepare_cached("DELETE FROM rejected WHERE id <= ?1")?.execute([id - capacity])?;
    Ok(RejectedId(id))
}

/// Rejected requests without bodies, the latest first.
pub(super) fn list(
    conn: &Connection,
    filter: &RejectedFilter,
    limit: usize,
) -> Result<Vec<StoredRejectedRequest>, StoreError> {
    let sql = format!(
        "{SELECT_COLUMNS} FROM rejected WHERE (?1 IS NULL OR company = ?1) AND received_at_ms >= ?2
           AND received_at_ms < ?3 ORDER BY id DESC LIMIT ?4"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (since_ms, until_ms) = (filter.since_ms.unwrap_or(i64::MIN), filter.until_ms.unwrap_or(i64::MAX));
    let rows = statement.query_map(params![filter.company, since_ms, until_ms, limit], read_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn get(conn: &Connection, id: RejectedId) -> Result<Option<StoredRejectedRequest>, StoreError> {
    let sql = format!("{SELECT_COLUMNS}, body FROM rejected WHERE id = ?1");
    let with_body = |row: &Row| {
        let mut rejected = read_row(row)?;
        rejected.request.body = row.get::<_, Option<Vec<u8>>>(11)?.map(Into::into);
        Ok(rejected)
    };
    Ok(conn.prepare_cached(&sql)?.query_row([id.0], with_body).optional()?)
}

fn read_row(row: &Row) -> rusqlite::Result<StoredRejectedRequest> {
    let id = RejectedId(row.get(0)?);
    let headers: String = row.get(6)?;
    let request = RejectedRequest {
        company: row.get(1)?,
        received_at_ms: row.get(2)?,
        source: row.get(3)?,
        method: row.get(4)?,
        path: row.get(5)?,
        headers: serde_json::from_str(&headers).unwrap_or_default(),
        size_bytes: row.get(7)?,
        reason: parse_column(row, 8, RejectionReason::from_name, || RowColumn {
            table: "rejected",
            row: format!("id {id}"),
            column: "reason",
        })?,
        diagnosis: row.get(9)?,
        body: None,
    };
    Ok(StoredRejectedRequest { id, request, has_body: row.get(10)? })
}
