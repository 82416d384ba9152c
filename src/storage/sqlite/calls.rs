//! The row a call.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::storage::{CallRecord, Stage, StoreError, TransferEvent};

const SELECT: &str = "SELECT company_id, call_id, stage, call_type, direction, agent_id, agent_name, agent_version,
    from_number, to_number, call_status, started_at_ms, ended_at_ms, duration_ms, disconnection_reason, user_sentiment,
    call_successful, cost_cents, transfers, first_event_at_ms, last_event_at_ms FROM calls";

pub(super) fn merge(conn: &Connection, news: &CallRecord) -> Result<(), StoreError> {
    let sql = format!("{SELECT} WHERE company_id = ?1 AND call_id = ?2");
    let known = conn.prepare_cached(&sql)?.query_row(params![news.company_id, news.call_id], read).optional()?;
    let merged = match known {
        Some(mut known) => {
            known.merge(news.clone());
            known
        }
        None => news.clone(),
    };
    write(conn, &merged)
}

fn write(conn: &Connection, call: &CallRecord) -> Result<(), StoreError> {
    let transfers = serde_json::to_string(&call.transfers).unwrap_or_else(|_| "{}".into());
    conn.prepare_cached(
        "INSERT OR REPLACE INTO calls (company_id, call_id, stage, call_type, direction, agent_id, agent_name, agent_version,
           from_number, to_number, call_status, started_at_ms, ended_at_ms, duration_ms, disconnection_reason,
           user_sentiment, call_successful, cost_cents, transfers, first_event_at_ms, last_event_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
    )?
    .execute(params![
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
    ])?;
    Ok(())
}

pub(super) fn list(conn: &Connection, limit: usize) -> Result<Vec<CallRecord>, StoreError> {
    let sql = format!("{SELECT} ORDER BY last_event_at_ms DESC LIMIT ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map([limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn by_id(conn: &Connection, call_id: &str) -> Result<Option<CallRecord>, StoreError> {
    // Through the companies, of which there are few, so that the primary key serves.
    let sql = format!("{SELECT} WHERE company_id IN (SELECT id FROM companies) AND call_id = ?1 LIMIT 1");
    Ok(conn.prepare_cached(&sql)?.query_row([call_id], read).optional()?)
}

fn read(row: &Row) -> rusqlite::Result<CallRecord> {
    let transfers: String = row.get(18)?;
    let transfers: BTreeMap<String, TransferEvent> = serde_json::from_str(&transfers).unwrap_or_default();
    Ok(CallRecord {
        company_id: row.get(0)?,
        call_id: row.get(1)?,
        stage: Stage::from_rank(row.get(2)?),
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
        user_sentiment: row.get(15)?,
        call_successful: row.get(16)?,
        cost_cents: row.get(17)?,
        transfers,
        first_event_at_ms: row.get(19)?,
        last_event_at_ms: row.get(20)?,
    })
}
