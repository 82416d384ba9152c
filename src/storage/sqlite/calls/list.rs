//! Lists of calls, latest event first.

use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::remove::{CallPartition, list_partitions};
use super::row::{self, StoredCall, table_name};
use crate::base::id::CompanyId;
use crate::calls::{CallFilter, CallKind, CallRecord};
use crate::storage::{IdentityKey, StoreError};

/// The time of the latest event of a call, and the id of its row.
type ListEntry = (i64, i64);

/// The latest calls that match the filter, without their texts.
///
/// The indexes of lists begin with company and test, so a filter selects some of these partitions. Each is in order, so
/// the list needs at most its first rows of each.
pub(in crate::storage::sqlite) fn list_calls(
    conn: &Connection,
    filter: &CallFilter,
) -> Result<Vec<CallRecord>, StoreError> {
    // One snapshot for all queries.
    let snapshot = conn.unchecked_transaction()?;
    let mut partitions = list_partitions(&snapshot, filter.kind)?;
    if let Some(slug) = &filter.company {
        let mut id = snapshot.prepare_cached("SELECT id FROM companies WHERE slug = ?1")?;
        let company: Option<CompanyId> = id.query_row([slug], |row| row.get(0)).optional()?;
        partitions.retain(|partition| Some(partition.company_id) == company);
    }
    partitions.retain(|partition| filter.include_tests || !partition.test);
    if partitions.len() > 1 {
        // Only the partitions with the latest rows can contribute to a list of `limit` rows.
        let mut heads = Vec::new();
        for partition in partitions {
            heads.extend(list_entries(&snapshot, filter, &partition, 1)?.into_iter().map(|head| (head, partition)));
        }
        heads.sort_unstable_by(|a, b| b.cmp(a));
        heads.truncate(filter.limit);
        partitions = heads.into_iter().map(|(_, partition)| partition).collect();
    }
    let mut entries = Vec::new();
    for partition in &partitions {
        entries.extend(list_entries(&snapshot, filter, partition, filter.limit)?);
    }
    entries.sort_unstable_by(|a, b| b.cmp(a));
    entries.truncate(filter.limit);
    let mut calls = Vec::with_capacity(entries.len());
    for (_, id) in entries {
        if let Some(stored) = row::get_row(&snapshot, filter.kind, id)? {
            let call = named(&snapshot, stored)?;
            calls.push(CallRecord { summary: None, custom_analysis_data: None, ..call });
        }
    }
    Ok(calls)
}

fn list_entries(
    conn: &Connection,
    filter: &CallFilter,
    partition: &CallPartition,
    limit: usize,
) -> Result<Vec<ListEntry>, StoreError> {
    let table = table_name(filter.kind);
    let (index, agent) = match filter.agent_id {
        Some(_) => ("agents", "AND agent_id = ?6"),
        None => ("latest", ""),
    };
    let sql = format!(
        "SELECT last_event_at_ms, id FROM {table} INDEXED BY {table}_{index}
         WHERE company_id = ?1 AND test = ?2 AND last_event_at_ms >= ?3 AND last_event_at_ms < ?4 {agent}
         ORDER BY last_event_at_ms DESC, id DESC LIMIT ?5"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (since_ms, until_ms) = (filter.since_ms.unwrap_or(i64::MIN), filter.until_ms.unwrap_or(i64::MAX));
    let mut values: Vec<rusqlite::types::Value> =
        vec![partition.company_id.get().into(), partition.test.into(), since_ms.into(), until_ms.into(), limit.into()];
    values.extend(filter.agent_id.clone().map(Into::into));
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One call with its texts, of any company.
pub(in crate::storage::sqlite) fn find_by_id(
    conn: &Connection,
    key: &IdentityKey,
    kind: CallKind,
    call_id: &str,
) -> Result<Option<CallRecord>, StoreError> {
    let table = table_name(kind);
    let sql = format!("SELECT company_id FROM {table} INDEXED BY {table}_key WHERE key = ?1 AND call_id = ?2 LIMIT 1");
    let mut select = conn.prepare_cached(&sql)?;
    let company_id = select.query_row(params![key.call_hash(call_id), call_id], |row| row.get(0)).optional()?;
    let Some(company_id) = company_id else { return Ok(None) };
    row::find_row(conn, key, kind, company_id, call_id)?.map(|stored| named(conn, stored)).transpose()
}

/// The record with the name of its company.
fn named(conn: &Connection, stored: StoredCall) -> Result<CallRecord, StoreError> {
    let mut slug = conn.prepare_cached("SELECT slug FROM companies WHERE id = ?1")?;
    let company = slug.query_row([stored.record.company_id], |row| row.get(0)).optional()?;
    Ok(CallRecord { company: company.unwrap_or_default(), ..stored.record })
}
