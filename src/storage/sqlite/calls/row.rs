//! The columns of a call or chat.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, ToSql, params};

use crate::base::id::CompanyId;
use crate::calls::{CallKind, CallRecord, CallStage, E2eLatency, TransferKind, ValueSources};
use crate::storage::sqlite::errors::RowColumn;
use crate::storage::{IdentityKey, StoreError};

/// All columns, in the order of the parameters of [`execute_with_values`].
pub(super) const CALL_COLUMNS: [&str; 32] = [
    "id",
    "key",
    "company_id",
    "call_id",
    "test",
    "stage",
    "call_type",
    "direction",
    "agent_id",
    "agent_name",
    "agent_version",
    "from_number",
    "to_number",
    "call_status",
    "started_at_ms",
    "ended_at_ms",
    "duration_ms",
    "disconnection_reason",
    "user_sentiment",
    "call_successful",
    "cost_cents",
    "first_event_at_ms",
    "last_event_at_ms",
    "in_voicemail",
    "latency_p50_ms",
    "latency_p90_ms",
    "latency_p99_ms",
    "has_recording",
    "transfers",
    "sources",
    "summary",
    "custom_analysis_data",
];

/// Calls and chats have separate tables with the same columns.
pub(in crate::storage::sqlite) fn table_name(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Call => "calls",
        CallKind::Chat => "chats",
    }
}

/// A record and the id of its row.
pub(super) struct StoredCall {
    pub(super) id: i64,
    pub(super) record: CallRecord,
}

/// The row of a call or chat; the name of its company is left empty.
pub(super) fn find_row(
    conn: &Connection,
    key: &IdentityKey,
    kind: CallKind,
    company_id: CompanyId,
    call_id: &str,
) -> Result<Option<StoredCall>, StoreError> {
    // Merging reads a row per event, so the statements are not put together each time.
    static SELECT: LazyLock<[String; 2]> = LazyLock::new(|| {
        [CallKind::Call, CallKind::Chat].map(|kind| {
            let (table, columns) = (table_name(kind), CALL_COLUMNS.join(", "));
            format!("SELECT {columns} FROM {table} INDEXED BY {table}_key WHERE key = ?1 AND company_id = ?2 AND call_id = ?3")
        })
    });
    let mut select = conn.prepare_cached(&SELECT[kind as usize])?;
    Ok(select.query_row(params![key.call_hash(call_id), company_id, call_id], |row| from_row(row, kind)).optional()?)
}

/// The row with this id; the name of its company is left empty.
pub(super) fn get_row(conn: &Connection, kind: CallKind, id: i64) -> Result<Option<StoredCall>, StoreError> {
    let sql = format!("SELECT {} FROM {} WHERE id = ?1", CALL_COLUMNS.join(", "), table_name(kind));
    Ok(conn.prepare_cached(&sql)?.query_row([id], |row| from_row(row, kind)).optional()?)
}

/// Runs a statement whose parameters ?1 to ?32 are the columns. Without an id SQLite assigns the next one.
pub(super) fn execute_with_values(
    statement: &mut CachedStatement,
    key: &IdentityKey,
    id: Option<i64>,
    call: &CallRecord,
) -> Result<(), StoreError> {
    let transfers = (!call.transfers.is_empty())
        .then(|| serde_json::to_string(&call.transfers).unwrap_or_else(|_| "{}".to_owned()));
    let sources = (call.sources != ValueSources::default()).then(|| call.sources.to_json());
    let latency = call.latency_e2e.unwrap_or_default();
    let values: [&dyn ToSql; CALL_COLUMNS.len()] = [
        &id,
        &key.call_hash(&call.call_id),
        &call.company_id,
        &call.call_id,
        &call.is_test(),
        &(call.stage as i64),
        &call.call_type,
        &call.direction,
        &call.agent_id,
        &call.agent_name,
        &call.agent_version,
        &call.from_number,
        &call.to_number,
        &call.call_status,
        &call.started_at_ms,
        &call.ended_at_ms,
        &call.duration_ms,
        &call.disconnection_reason,
        &call.user_sentiment,
        &call.call_successful,
        &call.cost_cents,
        &call.first_event_at_ms,
        &call.last_event_at_ms,
        &call.in_voicemail,
        &latency.p50_ms,
        &latency.p90_ms,
        &latency.p99_ms,
        &call.has_recording,
        &transfers,
        &sources,
        &call.summary,
        &call.custom_analysis_data,
    ];
    statement.execute(values)?;
    Ok(())
}

fn from_row(row: &Row, kind: CallKind) -> rusqlite::Result<StoredCall> {
    let (company_id, call_id): (CompanyId, String) = (row.get(2)?, row.get(3)?);
    let rank: i64 = row.get(5)?;
    let stage = CallStage::from_rank(rank).ok_or_else(|| {
        let row = format!("company id {company_id} and call id {call_id}");
        RowColumn { table: table_name(kind), row, column: "stage" }.unknown_value(rank.to_string())
    })?;
    let transfers = row.get_ref(28)?.as_str_or_null()?;
    let transfers: BTreeMap<String, TransferKind> =
        transfers.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let latency = E2eLatency { p50_ms: row.get(24)?, p90_ms: row.get(25)?, p99_ms: row.get(26)? };
    let record = CallRecord {
        kind,
        company_id,
        company: String::new(),
        call_id,
        stage,
        call_type: row.get(6)?,
        direction: row.get(7)?,
        agent_id: row.get(8)?,
        agent_name: row.get(9)?,
        agent_version: row.get(10)?,
        from_number: row.get(11)?,
        to_number: row.get(12)?,
        call_status: row.get(13)?,
        started_at_ms: row.get(14)?,
        ended_at_ms: row.get(15)?,
        duration_ms: row.get(16)?,
        disconnection_reason: row.get(17)?,
        in_voicemail: row.get(23)?,
        user_sentiment: row.get(18)?,
        call_successful: row.get(19)?,
        cost_cents: row.get(20)?,
        latency_e2e: (latency != E2eLatency::default()).then_some(latency),
        has_recording: row.get(27)?,
        summary: row.get(30)?,
        custom_analysis_data: row.get(31)?,
        transfers,
        first_event_at_ms: row.get(21)?,
        last_event_at_ms: row.get(22)?,
        sources: row.get_ref(29)?.as_str_or_null()?.map(ValueSources::from_json).unwrap_or_default(),
    };
    Ok(StoredCall { id: row.get(0)?, record })
}
