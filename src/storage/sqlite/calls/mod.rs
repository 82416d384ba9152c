//! One row per call and per chat, merged from its events.

mod stats;

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

pub(super) use self::stats::compute_stats;
use super::errors::RowColumn;
use crate::base::id::CompanyId;
use crate::calls::{CallFilter, CallKind, CallRecord, CallStage, E2eLatency, TransferKind, ValueSources};
use crate::storage::StoreError;

const CALL_COLUMNS: &str = "company_id, call_id, stage, call_type, direction, agent_id, agent_name, agent_version,
    from_number, to_number, call_status, started_at_ms, ended_at_ms, duration_ms, disconnection_reason, user_sentiment,
    call_successful, cost_cents, transfers, first_event_at_ms, last_event_at_ms, in_voicemail, latency_p50_ms,
    latency_p90_ms, latency_p99_ms, has_recording, sources";

/// Calls and chats have separate tables with the same columns.
fn table_name(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Call => "calls",
        CallKind::Chat => "chats",
    }
}

fn select_sql(kind: CallKind) -> String {
    let table = table_name(kind);
    format!("SELECT {CALL_COLUMNS}, coalesce((SELECT slug FROM companies WHERE id = company_id), '') FROM {table}")
}

/// Merges the facts of one event into the row of its call. Events may come in any order and more than once: for each
/// value, [`CallRecord::merge`] decides which event counts.
pub(super) fn merge_call(conn: &Connection, update: &CallRecord) -> Result<(), StoreError> {
    let sql = format!("{} WHERE company_id = ?1 AND call_id = ?2", select_sql(update.kind));
    let read = |row: &Row| call_from_row(row, update.kind);
    let stored = conn.prepare_cached(&sql)?.query_row(params![update.company_id, update.call_id], read).optional()?;
    let Some(mut call) = stored else {
        upsert_call(conn, update)?;
        return upsert_texts(conn, update);
    };
    read_texts(conn, &mut call)?;
    call.merge(update.clone());
    upsert_call(conn, &call)?;
    // Texts are large and come with one event of a call, so most updates leave their row alone.
    if update.summary.is_none() && update.custom_analysis_data.is_none() {
        return Ok(());
    }
    upsert_texts(conn, &call)
}

fn upsert_call(conn: &Connection, call: &CallRecord) -> Result<(), StoreError> {
    let transfers = serde_json::to_string(&call.transfers).unwrap_or_else(|_| "{}".into());
    let latency = call.latency_e2e.unwrap_or_default();
    let sql = format!(
        "INSERT OR REPLACE INTO {} ({CALL_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
           ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)",
        table_name(call.kind)
    );
    conn.prepare_cached(&sql)?.execute(params![
        call.company_id,
        call.call_id,
        call.stage as i64,
        call.call_type,
        call.direction,
        call.agent_id,
        call.agent_name,
        call.agent_version,
        call.from_number,
        call.to_number,
        call.call_status,
        call.started_at_ms,
        call.ended_at_ms,
        call.duration_ms,
        call.disconnection_reason,
        call.user_sentiment,
        call.call_successful,
        call.cost_cents,
        transfers,
        call.first_event_at_ms,
        call.last_event_at_ms,
        call.in_voicemail,
        latency.p50_ms,
        latency.p90_ms,
        latency.p99_ms,
        call.has_recording,
        call.sources.to_json(),
    ])?;
    Ok(())
}

/// The texts are in a separate table, so that lists and statistics do not read past them.
fn upsert_texts(conn: &Connection, call: &CallRecord) -> Result<(), StoreError> {
    if call.summary.is_none() && call.custom_analysis_data.is_none() {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT INTO call_texts (kind, company_id, call_id, summary, custom_analysis_data) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET summary = excluded.summary, custom_analysis_data = excluded.custom_analysis_data",
    )?
    .execute(params![
        call.kind.as_str(),
        call.company_id,
        call.call_id,
        call.summary,
        call.custom_analysis_data
    ])?;
    Ok(())
}

fn read_texts(conn: &Connection, call: &mut CallRecord) -> Result<(), StoreError> {
    let texts = conn
        .prepare_cached(
            "SELECT summary, custom_analysis_data FROM call_texts WHERE kind = ?1 AND company_id = ?2 AND call_id = ?3",
        )?
        .query_row(params![call.kind.as_str(), call.company_id, call.call_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    (call.summary, call.custom_analysis_data) = texts.unwrap_or_default();
    Ok(())
}

/// The latest calls that match the filter, without their texts.
pub(super) fn list_calls(conn: &Connection, filter: &CallFilter) -> Result<Vec<CallRecord>, StoreError> {
    let mut sql = select_sql(filter.kind) + " WHERE 1";
    let mut values = Vec::new();
    if let Some(company) = &filter.company {
        sql.push_str(" AND company_id = (SELECT id FROM companies WHERE slug = ?)");
        values.push(Value::Text(company.clone()));
    }
    if let Some(agent) = &filter.agent_id {
        sql.push_str(" AND agent_id = ?");
        values.push(Value::Text(agent.clone()));
    }
    if !filter.include_tests {
        sql.push_str(" AND call_id NOT GLOB ?");
        values.push(Value::Text(format!("{}*", filter.kind.test_prefix())));
    }
    for (condition, at_ms) in
        [(" AND last_event_at_ms >= ?", filter.since_ms), (" AND last_event_at_ms < ?", filter.until_ms)]
    {
        if let Some(at_ms) = at_ms {
            sql.push_str(condition);
            values.push(Value::Integer(at_ms));
        }
    }
    // The index of latest events contains company and call id, so a list is read from it in order and ends early. It
    // does not contain the agent: each index entry would need a lookup of its row. Unary plus disables the index, and
    // one scan of the table with a sort is faster then.
    sql.push_str(match filter.agent_id {
        Some(_) => " ORDER BY +last_event_at_ms DESC LIMIT ?",
        None => " ORDER BY last_event_at_ms DESC LIMIT ?",
    });
    values.push(Value::Integer(i64::try_from(filter.limit).unwrap_or(i64::MAX)));
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| call_from_row(row, filter.kind))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One call with its texts, of any company.
pub(super) fn find_by_id(conn: &Connection, kind: CallKind, call_id: &str) -> Result<Option<CallRecord>, StoreError> {
    // The primary key starts with the company. There are few companies, so one key lookup per company beats a scan.
    let sql = format!("{} WHERE company_id IN (SELECT id FROM companies) AND call_id = ?1 LIMIT 1", select_sql(kind));
    let found = conn.prepare_cached(&sql)?.query_row([call_id], |row| call_from_row(row, kind)).optional()?;
    let Some(mut call) = found else { return Ok(None) };
    read_texts(conn, &mut call)?;
    Ok(Some(call))
}

fn call_from_row(row: &Row, kind: CallKind) -> rusqlite::Result<CallRecord> {
    let (company_id, call_id): (CompanyId, String) = (row.get(0)?, row.get(1)?);
    let rank: i64 = row.get(2)?;
    let stage = CallStage::from_rank(rank).ok_or_else(|| {
        let row = format!("company id {company_id} and call id {call_id}");
        RowColumn { table: table_name(kind), row, column: "stage" }.unknown_value(rank.to_string())
    })?;
    let transfers: String = row.get(18)?;
    let transfers: BTreeMap<String, TransferKind> = serde_json::from_str(&transfers).unwrap_or_default();
    let latency = E2eLatency { p50_ms: row.get(22)?, p90_ms: row.get(23)?, p99_ms: row.get(24)? };
    Ok(CallRecord {
        kind,
        company_id,
        company: row.get(27)?,
        call_id,
        stage,
        call_type: row.get(3)?,
        direction: row.get(4)?,
        agent_id: row.get(5)?,
        agent_name: row.get(6)?,
        agent_version: row.get(7)?,
        from_number: row.get(8)?,
        to_number: row.get(9)?,
        call_status: row.get(10)?,
        started_at_ms: row.get(11)?,
        ended_at_ms: row.get(12)?,
        duration_ms: row.get(13)?,
        disconnection_reason: row.get(14)?,
        in_voicemail: row.get(21)?,
        user_sentiment: row.get(15)?,
        call_successful: row.get(16)?,
        cost_cents: row.get(17)?,
        latency_e2e: (latency != E2eLatency::default()).then_some(latency),
        has_recording: row.get(25)?,
        summary: None,
        custom_analysis_data: None,
        transfers,
        first_event_at_ms: row.get(19)?,
        last_event_at_ms: row.get(20)?,
        sources: ValueSources::from_json(row.get_ref(26)?.as_str()?),
    })
}
