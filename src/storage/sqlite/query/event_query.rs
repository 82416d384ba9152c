//! Selects events by the filter of a list or an export.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::index_range::merge_ranges;
use super::time_range::seq_bounds;
use super::{Order, SeqBounds, SeqRange};
use crate::base::id::CompanyId;
use crate::storage::{EventFilter, IdentityKey, Seq};

pub(super) const EVENTS_OF_KIND: &str = "events INDEXED BY events_kinds WHERE company_id = ?4 AND event IS ?5";
pub(super) const UNPARSED_OF_KIND: &str =
    "events INDEXED BY events_unparsed WHERE state = 1 AND company_id = ?4 AND event IS ?5";

/// All events that the filter selects by call, company, kind and state, or more. `company` is the company of the filter.
pub(in crate::storage::sqlite) fn find_candidates(
    conn: &Connection,
    key: &IdentityKey,
    filter: &EventFilter,
    company: Option<CompanyId>,
) -> rusqlite::Result<Vec<SeqRange>> {
    if let Some(call_id) = &filter.call_id {
        return Ok(vec![SeqRange::listed(list_event_seqs_of_call(conn, key, call_id)?)]);
    }
    if filter.kinds.is_empty() && company.is_none() && !filter.unparsed_only {
        return Ok(vec![all_events()]);
    }
    let from_where = if filter.unparsed_only { UNPARSED_OF_KIND } else { EVENTS_OF_KIND };
    let companies = match company {
        Some(company) => vec![company],
        None => list_companies_with_events(conn)?,
    };
    let mut ranges = Vec::new();
    for company in companies {
        let kinds = match filter.kinds.as_slice() {
            [] => list_kinds_of(conn, company)?,
            kinds => kinds.iter().cloned().collect::<BTreeSet<_>>().into_iter().map(Value::Text).collect(),
        };
        ranges.extend(kinds.into_iter().map(|kind| SeqRange::index("seq", from_where, [company.get().into(), kind])));
    }
    Ok(ranges)
}

pub(in crate::storage::sqlite) fn all_events() -> SeqRange {
    SeqRange::index("seq", "events WHERE 1", [])
}

/// A filter whose company, call and times were looked up.
#[derive(Clone, Debug)]
pub(in crate::storage::sqlite) struct EventQuery {
    candidates: Vec<SeqRange>,
    bounds: SeqBounds,
    order: Order,
    /// What the candidates are compared with; `e` is the event.
    pub(in crate::storage::sqlite) conditions: String,
    pub(in crate::storage::sqlite) values: Vec<Value>,
}

impl EventQuery {
    pub(in crate::storage::sqlite) fn resolve(
        conn: &Connection,
        key: &IdentityKey,
        filter: &EventFilter,
        after: Seq,
        order: Order,
    ) -> rusqlite::Result<Self> {
        let company = match &filter.company {
            Some(slug) => find_company(conn, slug)?,
            None => None,
        };
        let (conditions, values) = conditions(filter, company);
        let is_unknown_company = filter.company.is_some() && company.is_none();
        let candidates = if is_unknown_company { Vec::new() } else { find_candidates(conn, key, filter, company)? };
        Ok(Self {
            candidates,
            bounds: seq_bounds(conn, filter.since_ms, filter.until_ms)?
                .intersect(SeqBounds { after, through: SeqBounds::ALL.through }),
            order,
            conditions,
            values,
        })
    }

    /// The next candidates, at most `limit`; an empty list at the end.
    pub(in crate::storage::sqlite) fn next_candidates(
        &mut self,
        conn: &Connection,
        limit: usize,
    ) -> rusqlite::Result<Vec<Seq>> {
        let seqs = merge_ranges(conn, &self.candidates, self.bounds, self.order, limit)?;
        if let Some(last) = seqs.last() {
            self.bounds = self.bounds.continue_after(*last, self.order);
        }
        Ok(seqs)
    }
}

fn conditions(filter: &EventFilter, company: Option<CompanyId>) -> (String, Vec<Value>) {
    let mut sql = String::new();
    let mut values = Vec::new();
    let mut add = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value);
        }
    };
    // Unary plus keeps SQLite from using an index: the candidates are the outer loop.
    add(
        " AND +e.event IN (SELECT value FROM json_each(?))",
        (!filter.kinds.is_empty()).then(|| json_list(&filter.kinds)),
    );
    add(" AND +e.company_id = ?", company.map(|id| id.get().into()));
    add(" AND e.call_id = ?", filter.call_id.clone().map(Value::Text));
    add(" AND e.received_at_ms >= ?", filter.since_ms.map(Value::Integer));
    add(" AND e.received_at_ms < ?", filter.until_ms.map(Value::Integer));
    if filter.unparsed_only {
        sql.push_str(" AND +e.state = 1");
    }
    (sql, values)
}

/// A list as a parameter of `json_each`. One parameter instead of one per value: the text of the statement stays the
/// same.
pub(in crate::storage::sqlite) fn json_list(texts: &[String]) -> Value {
    Value::Text(serde_json::json!(texts).to_string())
}

fn find_company(conn: &Connection, slug: &str) -> rusqlite::Result<Option<CompanyId>> {
    conn.prepare_cached("SELECT id FROM companies WHERE slug = ?1")?.query_row([slug], |row| row.get(0)).optional()
}

/// One index step per company; `SELECT DISTINCT` would read every entry of the index.
fn list_companies_with_events(conn: &Connection) -> rusqlite::Result<Vec<CompanyId>> {
    let mut next =
        conn.prepare_cached("SELECT min(company_id) FROM events INDEXED BY events_kinds WHERE company_id > ?1")?;
    let mut companies = Vec::new();
    let mut after = i64::MIN;
    while let Some(company) = next.query_row([after], |row| row.get::<_, Option<i64>>(0))? {
        companies.push(CompanyId::new(company));
        after = company;
    }
    Ok(companies)
}

/// The event kinds of a company, and NULL for events without one.
fn list_kinds_of(conn: &Connection, company: CompanyId) -> rusqlite::Result<Vec<Value>> {
    let mut next = conn.prepare_cached(
        "SELECT event FROM events INDEXED BY events_kinds WHERE company_id = ?1 AND event > ?2 ORDER BY event LIMIT 1",
    )?;
    let mut kinds = vec![Value::Null];
    let mut after = String::new();
    while let Some(kind) = next.query_row(params![company, after], |row| row.get::<_, String>(0)).optional()? {
        after.clone_from(&kind);
        kinds.push(Value::Text(kind));
    }
    Ok(kinds)
}

/// The events of a call or chat in any company, ascending. The index of call keys is written behind: it lacks the
/// latest events, which are searched one by one.
pub(in crate::storage::sqlite) fn list_event_seqs_of_call(
    conn: &Connection,
    key: &IdentityKey,
    call_id: &str,
) -> rusqlite::Result<Vec<Seq>> {
    let (first, last) = key.call_key_range(call_id).into_inner();
    // UNION instead of OR: for an OR over two tables SQLite would scan all events.
    let mut statement = conn.prepare_cached(
        "SELECT seq FROM events WHERE call_id = ?1 AND seq IN (SELECT seq FROM event_keys WHERE key BETWEEN ?2 AND ?3)
         UNION
         SELECT seq FROM events
         WHERE call_id = ?1 AND seq > (SELECT value FROM progress WHERE name = 'indexed_through') ORDER BY 1",
    )?;
    let rows = statement.query_map(params![call_id, first, last], |row| row.get(0))?;
    rows.collect()
}
