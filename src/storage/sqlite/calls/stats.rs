//! Statistics over calls: whole hours and longer periods from the totals, and the parts of hours at both ends of the range
//! from the rows.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::row::table_name;
use super::totals::{Series, Span, TOTALS_COLUMNS, find_series, totals_from_row};
use crate::base::id::CompanyId;
use crate::calls::{CallDimension, CallKind, CallStats, CallStatsFilter, CallTotals, Cost, CountedCall};
use crate::storage::StoreError;

/// Rows of an agent that are searched for its name. Usually the latest has it.
const MAX_ROWS_FOR_NAME: i64 = 20;

pub(in crate::storage::sqlite) fn compute_stats(
    conn: &Connection,
    filter: &CallStatsFilter,
) -> Result<CallStats, StoreError> {
    // One snapshot: a call that is merged meanwhile must not be counted twice or not at all.
    let snapshot = conn.unchecked_transaction()?;
    let mut companies = snapshot.prepare_cached("SELECT id, slug FROM companies")?;
    let companies = companies.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let companies: HashMap<CompanyId, String> = companies.collect::<Result<_, _>>()?;
    let company_id = match &filter.company {
        None => None,
        Some(slug) => match companies.iter().find(|(_, known)| *known == slug) {
            Some((id, _)) => Some(*id),
            None => return Ok(CallStats::default()),
        },
    };
    let mut query = StatsQuery {
        conn: &snapshot,
        filter,
        company_id,
        companies,
        agent_companies: HashMap::new(),
        stats: CallStats::default(),
    };
    query.add_values()?;
    query.add_groups()?;
    query.name_agents()?;
    Ok(query.stats)
}

struct StatsQuery<'a> {
    conn: &'a Connection,
    filter: &'a CallStatsFilter,
    company_id: Option<CompanyId>,
    companies: HashMap<CompanyId, String>,
    /// A company of each counted agent, whose calls have the agent's name.
    agent_companies: HashMap<String, CompanyId>,
    stats: CallStats,
}

impl StatsQuery<'_> {
    fn range_parts(&self, spans: &[Span]) -> RangeParts {
        let since_ms = self.filter.since_ms.map_or(i128::from(i64::MIN), i128::from);
        // Exclusive, and no call begins later.
        let until_ms = self.filter.until_ms.map_or(i128::from(i64::MAX) + 1, i128::from);
        RangeParts::of(since_ms, until_ms, spans)
    }

    /// Counts days and values from the one series that the filter selects. An agent may have one per company.
    fn add_values(&mut self) -> Result<(), StoreError> {
        let parts = self.range_parts(&[Span::Day, Span::Hour]);
        for (series_id, series) in self.selected_series()? {
            for (periods, dimension) in parts.periods.iter().flat_map(|part| CallDimension::ALL.map(|it| (part, it))) {
                self.add_series(periods, dimension, series_id, &series)?;
            }
        }
        for (since_ms, until_ms) in parts.rest {
            self.add_rows(since_ms, until_ms)?;
        }
        Ok(())
    }

    fn selected_series(&self) -> Result<Vec<(i64, Series)>, StoreError> {
        let selected = match (&self.filter.agent_id, self.company_id) {
            (None, None) => vec![Series::All],
            (None, Some(company)) => vec![Series::Company(company)],
            (Some(agent), Some(company)) => vec![Series::Agent(company, Some(agent.clone()))],
            (Some(agent), None) => {
                self.companies.keys().map(|company| Series::Agent(*company, Some(agent.clone()))).collect()
            }
        };
        let mut found = Vec::new();
        for series in selected {
            if let Some(id) = find_series(self.conn, self.filter.kind, &series)? {
                found.push((id, series));
            }
        }
        Ok(found)
    }

    fn add_series(
        &mut self,
        periods: &Periods,
        dimension: CallDimension,
        series_id: i64,
        series: &Series,
    ) -> Result<(), StoreError> {
        // Jumps from period to period: the rows of all other series lie in between.
        let sql = format!(
            "WITH RECURSIVE periods (start) AS (
               SELECT (SELECT start FROM call_totals WHERE span = ?1 AND dimension = ?2 AND start >= ?3
                 ORDER BY start LIMIT 1)
               UNION ALL SELECT (SELECT t.start FROM call_totals t WHERE t.span = ?1 AND t.dimension = ?2
                   AND t.start > periods.start ORDER BY t.start LIMIT 1)
                 FROM periods WHERE periods.start < ?4)
             SELECT t.start, t.value, {TOTALS_COLUMNS} FROM periods CROSS JOIN call_totals t
             WHERE periods.start < ?4 AND t.span = ?1 AND t.dimension = ?2 AND t.start = periods.start AND t.series = ?5"
        );
        let mut select = self.conn.prepare_cached(&sql)?;
        let Periods { span, first, end } = periods;
        let mut rows = select.query(params![*span as i64, dimension as i64, first, end, series_id])?;
        while let Some(row) = rows.next()? {
            let day = row.get::<_, i64>(0)?.div_euclid(Span::Day as i64 / *span as i64);
            let totals = totals_from_row(row, 2)?;
            let value = text_at(row, 1)?.unwrap_or_default();
            self.stats.add_value(day, dimension, value, &totals);
            if self.filter.agent_id.is_some() {
                self.add_to_groups(series, dimension, value, &totals);
            }
        }
        Ok(())
    }

    /// Counts companies, agents and versions from the series of all of them; long periods, because there may be many.
    fn add_groups(&mut self) -> Result<(), StoreError> {
        if self.filter.agent_id.is_some() {
            // The series of the agent have been read already, and they have all of these groups.
            return Ok(());
        }
        let all_series = self.series_of_groups()?;
        let sql = format!(
            "SELECT series, value, {TOTALS_COLUMNS} FROM call_totals
             WHERE span = ?1 AND dimension = ?2 AND start >= ?3 AND start < ?4"
        );
        let mut select = self.conn.prepare_cached(&sql)?;
        for periods in self.range_parts(&Span::ALL).periods {
            for dimension in [CallDimension::Success, CallDimension::AgentVersion] {
                let Periods { span, first, end } = periods;
                let mut rows = select.query(params![span as i64, dimension as i64, first, end])?;
                while let Some(row) = rows.next()? {
                    if let Some(series) = all_series.get(&row.get(0)?) {
                        let totals = totals_from_row(row, 2)?;
                        self.add_to_groups(series, dimension, text_at(row, 1)?.unwrap_or_default(), &totals);
                    }
                }
            }
        }
        Ok(())
    }

    /// The series of companies and agents that the filter includes.
    fn series_of_groups(&self) -> Result<HashMap<i64, Series>, StoreError> {
        let mut select = self.conn.prepare_cached(
            "SELECT id, company_id, scope = 'agent', agent_id FROM call_series
             WHERE kind = ?1 AND scope IN ('company', 'agent') AND (?2 IS NULL OR company_id = ?2)",
        )?;
        let rows = select.query_map(params![self.filter.kind.as_str(), self.company_id], |row| {
            let company = row.get(1)?;
            let series = if row.get(2)? { Series::Agent(company, row.get(3)?) } else { Series::Company(company) };
            Ok((row.get(0)?, series))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn add_to_groups(&mut self, series: &Series, dimension: CallDimension, value: &str, totals: &CallTotals) {
        match (dimension, series) {
            (CallDimension::Success, Series::Company(company)) => self.add_to_company(*company, totals),
            (CallDimension::Success, Series::Agent(company, Some(agent))) => {
                self.stats.add_to_agent(agent, totals);
                self.set_company_of(agent, *company);
                if self.filter.agent_id.is_some() {
                    self.add_to_company(*company, totals);
                }
            }
            (CallDimension::AgentVersion, Series::Agent(_, Some(agent))) => {
                self.stats.add_to_agent_version(agent, value, totals);
            }
            _ => {}
        }
    }

    fn add_to_company(&mut self, company: CompanyId, totals: &CallTotals) {
        self.stats.add_to_company(self.companies.get(&company).map_or("", String::as_str), totals);
    }

    fn set_company_of(&mut self, agent: &str, company: CompanyId) {
        // An allocation per agent and not per row.
        if !self.agent_companies.contains_key(agent) {
            self.agent_companies.insert(agent.to_owned(), company);
        }
    }

    /// Counts the rows of calls that began in a part of an hour.
    fn add_rows(&mut self, since_ms: i64, until_ms: i64) -> Result<(), StoreError> {
        let conn = self.conn;
        for_each_counted(conn, self.filter.kind, since_ms, until_ms, &mut |call| {
            let has_company = self.company_id.is_none_or(|company| company == call.company_id);
            let has_agent = self.filter.agent_id.as_deref().is_none_or(|agent| Some(agent) == call.agent_id);
            if !has_company || !has_agent {
                return;
            }
            if let Some(agent) = call.agent_id {
                self.set_company_of(agent, call.company_id);
            }
            let company = self.companies.get(&call.company_id).map_or("", String::as_str);
            self.stats.add_call(call, company);
        })
    }

    /// Names the agents by their latest calls.
    fn name_agents(&mut self) -> Result<(), StoreError> {
        let table = table_name(self.filter.kind);
        let sql = format!(
            "SELECT agent_name FROM (SELECT agent_name FROM {table} INDEXED BY {table}_agents
               WHERE company_id = ?1 AND test = 0 AND agent_id = ?2 ORDER BY last_event_at_ms DESC LIMIT ?3)
             WHERE agent_name IS NOT NULL LIMIT 1"
        );
        let mut select = self.conn.prepare_cached(&sql)?;
        for agent in self.stats.agent_ids() {
            let Some(company) = self.agent_companies.get(&agent) else { continue };
            let name = select.query_row(params![company, agent, MAX_ROWS_FOR_NAME], |row| row.get(0)).optional()?;
            if let Some(name) = name {
                self.stats.name_agent(&agent, name);
            }
        }
        Ok(())
    }
}

/// Visits the calls that began in a time range.
pub(super) fn for_each_counted(
    conn: &Connection,
    kind: CallKind,
    since_ms: i64,
    until_ms: i64,
    visit: &mut dyn FnMut(&CountedCall),
) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT company_id, test, coalesce(started_at_ms, first_event_at_ms), agent_id, agent_version,
           disconnection_reason, user_sentiment, call_successful, duration_ms, cost_cents
         FROM {table} INDEXED BY {table}_start
         WHERE coalesce(started_at_ms, first_event_at_ms) >= ?1 AND coalesce(started_at_ms, first_event_at_ms) < ?2",
        table = table_name(kind)
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query(params![since_ms, until_ms])?;
    while let Some(row) = rows.next()? {
        visit(&counted_from_row(row)?);
    }
    Ok(())
}

fn counted_from_row<'a>(row: &'a Row) -> rusqlite::Result<CountedCall<'a>> {
    Ok(CountedCall {
        company_id: row.get(0)?,
        is_test: row.get(1)?,
        started_at_ms: row.get(2)?,
        agent_id: text_at(row, 3)?,
        agent_version: row.get(4)?,
        disconnection_reason: text_at(row, 5)?,
        user_sentiment: text_at(row, 6)?,
        call_successful: row.get(7)?,
        duration_ms: row.get(8)?,
        cost_cents: text_at(row, 9)?.and_then(Cost::parse),
    })
}

/// A text or null, borrowed from the row: there may be many rows, and most texts are only compared.
fn text_at<'a>(row: &'a Row, column: usize) -> rusqlite::Result<Option<&'a str>> {
    Ok(row.get_ref(column)?.as_str_or_null()?)
}

/// A part of a time range, in periods of one span.
#[derive(Debug, PartialEq, Eq)]
struct Periods {
    span: Span,
    first: i64,
    /// The first one that is not part of the range.
    end: i64,
}

/// A time range in periods as long as possible, and what is left at its ends, in milliseconds.
#[derive(Debug, Default, PartialEq, Eq)]
struct RangeParts {
    periods: Vec<Periods>,
    rest: Vec<(i64, i64)>,
}

impl RangeParts {
    fn of(since_ms: i128, until_ms: i128, spans: &[Span]) -> Self {
        let mut parts = Self::default();
        parts.add(since_ms, until_ms, spans);
        parts
    }

    /// `spans` is in the order from the longest to the shortest.
    fn add(&mut self, since_ms: i128, until_ms: i128, spans: &[Span]) {
        if since_ms >= until_ms {
            return;
        }
        let saturate = |number: i128| i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX });
        let Some((span, shorter)) = spans.split_first() else {
            self.rest.push((saturate(since_ms), saturate(until_ms)));
            return;
        };
        let length = i128::from(span.ms());
        let first = -(-since_ms).div_euclid(length);
        let end = until_ms.div_euclid(length);
        if first >= end {
            return self.add(since_ms, until_ms, shorter);
        }
        self.add(since_ms, first * length, shorter);
        self.periods.push(Periods { span: *span, first: saturate(first), end: saturate(end) });
        self.add(end * length, until_ms, shorter);
    }
}
