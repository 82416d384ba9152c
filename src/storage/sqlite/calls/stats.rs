//! Statistics over calls, computed from a covering index that contains every column they need.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::table_name;
use crate::base::id::CompanyId;
use crate::calls::{CallStats, CallStatsFilter, CallStatsRow, Cost};
use crate::storage::StoreError;

/// Must be the same expression as in the index, or SQLite does not use it.
const STARTED_AT_SQL: &str = "coalesce(started_at_ms, first_event_at_ms)";

pub(in crate::storage::sqlite) fn compute_stats(
    conn: &Connection,
    filter: &CallStatsFilter,
) -> Result<CallStats, StoreError> {
    // Looked up once here: a join would add a lookup per row.
    let mut companies = conn.prepare_cached("SELECT id, slug FROM companies")?;
    let companies = companies.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let companies: HashMap<CompanyId, String> = companies.collect::<Result<_, _>>()?;
    let (sql, values) = build_query(filter);
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut stats = CallStats::default();
    while let Some(row) = rows.next()? {
        add_row(&mut stats, filter, row, &companies)?;
    }
    Ok(stats)
}

fn build_query(filter: &CallStatsFilter) -> (String, Vec<Value>) {
    let mut sql = format!(
        "SELECT call_id, {STARTED_AT_SQL}, company_id, agent_id, agent_name, disconnection_reason, user_sentiment,
           call_successful, duration_ms, cost_cents FROM {table} INDEXED BY {table}_begun
         WHERE {STARTED_AT_SQL} >= ? AND {STARTED_AT_SQL} < ?",
        table = table_name(filter.kind)
    );
    let mut values = vec![filter.since_ms.unwrap_or(i64::MIN).into(), filter.until_ms.unwrap_or(i64::MAX).into()];
    if let Some(company) = &filter.company {
        sql.push_str(" AND company_id = (SELECT id FROM companies WHERE slug = ?)");
        values.push(Value::Text(company.clone()));
    }
    if let Some(agent) = &filter.agent_id {
        sql.push_str(" AND agent_id = ?");
        values.push(Value::Text(agent.clone()));
    }
    (sql, values)
}

fn add_row(
    stats: &mut CallStats,
    filter: &CallStatsFilter,
    row: &Row,
    companies: &HashMap<CompanyId, String>,
) -> Result<(), StoreError> {
    // Borrowed from the row: there may be millions, and most of their texts are only compared.
    let text = |at: usize| row.get_ref(at).map(|value| value.as_str_or_null().ok().flatten());
    let company = companies.get(&row.get(2)?).map(String::as_str);
    let row = CallStatsRow {
        call_id: text(0)?.unwrap_or_default(),
        started_at_ms: row.get(1)?,
        company: company.unwrap_or_default(),
        agent_id: text(3)?,
        agent_name: text(4)?,
        disconnection_reason: text(5)?,
        user_sentiment: text(6)?,
        call_successful: row.get(7)?,
        duration_ms: row.get(8)?,
        cost_cents: text(9)?.and_then(Cost::parse),
    };
    stats.add(filter.kind, &row);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::CallKind;

    #[test]
    fn statistics_use_the_covering_index() {
        let conn = Connection::open_in_memory().unwrap();
        for step in crate::storage::sqlite::open::MIGRATIONS.steps {
            conn.execute_batch(step).unwrap();
        }
        for (kind, index) in [(CallKind::Call, "calls_begun"), (CallKind::Chat, "chats_begun")] {
            let (company, agent) = (Some("acme".to_owned()), Some("agent_1".to_owned()));
            let (sql, values) =
                build_query(&CallStatsFilter { kind, company, agent_id: agent, since_ms: Some(1), until_ms: None });
            let mut explained = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let rows = explained.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
            let plan: Vec<String> = rows.map(Result::unwrap).collect();
            assert!(plan[0].contains(&format!("USING COVERING INDEX {index}")), "{plan:?}");
        }
    }
}
