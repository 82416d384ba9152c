//! Lists invocations by ranges of indexes, as `query` does for events; the id stands for the sequence number.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::invocations::read_state;
use crate::storage::sqlite::events::json_array;
use crate::storage::sqlite::query::{Order, SeqBounds, SeqRange, merge_ranges};
use crate::storage::{InvocationFilter, InvocationRow, InvocationState, Seq, StoreError};

/// Candidates that are compared with the filter at once.
const MAX_CANDIDATES: usize = 1_000;

const ALL: &str = "invocations WHERE 1";
const BY_FUNCTION: &str =
    "invocations INDEXED BY invocations_by_function WHERE company_id = ?4 AND function = ?5 AND state = ?6";
const BY_CALL: &str = "invocations INDEXED BY invocations_by_call WHERE call_id = ?4";
const BY_NAME: &str = "invocations INDEXED BY invocations_by_name WHERE invocation = ?4";

/// At most `limit` matching invocations, the latest first.
pub(super) fn list_invocations(
    conn: &Connection,
    filter: &InvocationFilter,
    limit: usize,
) -> Result<Vec<InvocationRow>, StoreError> {
    let ranges = find_ranges(conn, filter)?;
    let mut bounds = bounds_of_times(conn, filter)?;
    let mut invocations = Vec::new();
    while invocations.len() < limit {
        let candidates = merge_ranges(conn, &ranges, bounds, Order::NewestFirst, MAX_CANDIDATES)?;
        let Some(last) = candidates.last() else { break };
        bounds = bounds.continue_after(*last, Order::NewestFirst);
        read_matching(conn, filter, &candidates, limit, &mut invocations)?;
    }
    Ok(invocations)
}

fn find_ranges(conn: &Connection, filter: &InvocationFilter) -> Result<Vec<SeqRange>, StoreError> {
    let range = |from_where, key: &str| Ok(vec![SeqRange::index("id", from_where, [Value::Text(key.to_owned())])]);
    if let Some(name) = &filter.idempotency_key {
        return range(BY_NAME, name);
    }
    if let Some(call_id) = &filter.call_id {
        return range(BY_CALL, call_id);
    }
    if filter.function.is_none() && filter.state.is_none() && filter.company.is_none() {
        return Ok(vec![SeqRange::index("id", ALL, [])]);
    }
    let company: Option<i64> = match &filter.company {
        Some(slug) => {
            let mut find = conn.prepare_cached("SELECT id FROM companies WHERE slug = ?1")?;
            let Some(company) = find.query_row([slug], |row| row.get(0)).optional()? else { return Ok(Vec::new()) };
            Some(company)
        }
        None => None,
    };
    let matches = |group: &Group| {
        company.is_none_or(|company| company == group.company)
            && filter.function.as_ref().is_none_or(|function| *function == group.function)
            && filter.state.is_none_or(|state| state.as_str() == group.state)
    };
    let groups = list_groups(conn)?.into_iter().filter(matches);
    let keys = groups.map(|group| [group.company.into(), Value::Text(group.function), Value::Text(group.state)]);
    Ok(keys.map(|keys| SeqRange::index("id", BY_FUNCTION, keys)).collect())
}

/// Invocations of one company with the same function and state.
struct Group {
    company: i64,
    function: String,
    state: String,
}

/// One index step per group; `SELECT DISTINCT` would read every entry of the index.
fn list_groups(conn: &Connection) -> Result<Vec<Group>, StoreError> {
    let mut next = conn.prepare_cached(
        "SELECT company_id, function, state FROM invocations INDEXED BY invocations_by_function
         WHERE (company_id, function, state) > (?1, ?2, ?3) ORDER BY company_id, function, state LIMIT 1",
    )?;
    let read = |row: &Row| Ok(Group { company: row.get(0)?, function: row.get(1)?, state: row.get(2)? });
    let mut groups: Vec<Group> = Vec::new();
    loop {
        let (company, function, state) = groups
            .last()
            .map_or((i64::MIN, "", ""), |last| (last.company, last.function.as_str(), last.state.as_str()));
        match next.query_row(params![company, function, state], read).optional()? {
            Some(group) => groups.push(group),
            None => return Ok(groups),
        }
    }
}

/// The ids of the invocations that were received in the times of the filter, and of others when the clock was set back.
fn bounds_of_times(conn: &Connection, filter: &InvocationFilter) -> Result<SeqBounds, StoreError> {
    if filter.since_ms.is_none() && filter.until_ms.is_none() {
        return Ok(SeqBounds::ALL);
    }
    let mut range = conn.prepare_cached(
        "SELECT min(id) - 1, max(id) FROM invocations INDEXED BY invocations_by_time
         WHERE received_at_ms >= ?1 AND received_at_ms < ?2",
    )?;
    let times = [filter.since_ms.unwrap_or(i64::MIN), filter.until_ms.unwrap_or(i64::MAX)];
    let (after, through): (Option<i64>, Option<i64>) = range.query_row(times, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(SeqBounds { after: Seq(after.unwrap_or(0)), through: Seq(through.unwrap_or(0)) })
}

fn read_matching(
    conn: &Connection,
    filter: &InvocationFilter,
    candidates: &[Seq],
    limit: usize,
    invocations: &mut Vec<InvocationRow>,
) -> Result<(), StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT invocation, coalesce(slug, ''), function, call_id, tool_call_id, received_at_ms, ended_at_ms, state,
           runs, arguments, answer, truncated, reason
         FROM json_each(?1) candidate CROSS JOIN invocations ON invocations.id = candidate.value
         LEFT JOIN companies ON companies.id = company_id
         WHERE (?2 IS NULL OR function = ?2) AND (?3 IS NULL OR call_id = ?3) AND (?4 IS NULL OR state = ?4)
         AND (?5 IS NULL OR invocation = ?5) AND (?6 IS NULL OR slug = ?6)
         AND received_at_ms >= ?7 AND received_at_ms < ?8",
    )?;
    let InvocationFilter { idempotency_key, function, call_id, state, company, since_ms, until_ms } = filter;
    let mut rows = statement.query(params![
        json_array(candidates),
        function,
        call_id,
        state.map(InvocationState::as_str),
        idempotency_key,
        company,
        since_ms.unwrap_or(i64::MIN),
        until_ms.unwrap_or(i64::MAX)
    ])?;
    while invocations.len() < limit
        && let Some(row) = rows.next()?
    {
        invocations.push(read_row(row)?);
    }
    Ok(())
}

fn read_row(row: &Row) -> rusqlite::Result<InvocationRow> {
    let answer: Option<Vec<u8>> = row.get(10)?;
    let idempotency_key: String = row.get(0)?;
    Ok(InvocationRow {
        state: read_state(row, 7, &idempotency_key)?,
        idempotency_key,
        company: row.get(1)?,
        function: row.get(2)?,
        call_id: row.get(3)?,
        tool_call_id: row.get(4)?,
        received_at_ms: row.get(5)?,
        ended_at_ms: row.get(6)?,
        runs: row.get(8)?,
        arguments: row.get(9)?,
        answer: answer.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        truncated: row.get(11)?,
        reason: row.get(12)?,
    })
}
