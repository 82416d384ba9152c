//! Totals of calls: sums per period, set of calls and value, kept in step with the rows of calls.
//!
//! A function that changes a row adds the difference to [`PendingTotals`], which is written in the same transaction, so
//! that totals and rows agree at any commit. Differences are added, never assigned: their order does not matter.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::base::id::CompanyId;
use crate::calls::{CallDimension, CallKind, CallTotals, Cost, CountedCall};
use crate::storage::StoreError;

const HOUR_MS: i64 = 3_600_000;

/// Length of the periods of totals. Longer ones keep a long range from reading many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Span {
    Hour = 1,
    Day = 24,
    Month = 720,
}

impl Span {
    /// From the longest to the shortest.
    pub(super) const ALL: [Self; 3] = [Self::Month, Self::Day, Self::Hour];

    pub(super) const fn ms(self) -> i64 {
        self as i64 * HOUR_MS
    }
}

/// A set of calls of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Series {
    All,
    Company(CompanyId),
    /// The calls of a company and an agent; `None` for those without an agent.
    Agent(CompanyId, Option<String>),
}

/// Identifies a row of totals; begins as the primary key does, so that pages are written one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TotalsKey {
    pub(super) span: Span,
    pub(super) dimension: CallDimension,
    /// Number of the period, counted from the Unix epoch.
    pub(super) start: i64,
    pub(super) kind: CallKind,
    pub(super) series: Series,
    pub(super) value: String,
}

pub(super) type TotalsByKey = BTreeMap<TotalsKey, CallTotals>;

/// Identifies the smallest total, from which all others are added up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HourKey {
    kind: CallKind,
    company_id: CompanyId,
    agent_id: Option<String>,
    hour: i64,
    dimension: CallDimension,
    value: String,
}

/// Differences of totals that are not written yet.
#[derive(Debug, Default)]
pub(in crate::storage::sqlite) struct PendingTotals {
    hours: HashMap<HourKey, CallTotals>,
}

impl PendingTotals {
    /// Counts a call that was inserted (no `before`), changed, or deleted (no `after`).
    pub(in crate::storage::sqlite) fn change(
        &mut self,
        kind: CallKind,
        before: Option<CountedCall>,
        after: Option<CountedCall>,
    ) {
        if before == after {
            return;
        }
        if let Some(call) = before {
            self.add(kind, &call, &-call.totals());
        }
        if let Some(call) = after {
            self.add(kind, &call, &call.totals());
        }
    }

    /// Counts a call again, to compare the result with the stored totals.
    pub(super) fn count(&mut self, kind: CallKind, call: &CountedCall) {
        self.add(kind, call, &call.totals());
    }

    fn add(&mut self, kind: CallKind, call: &CountedCall, totals: &CallTotals) {
        for (dimension, value) in call.values() {
            let key = HourKey {
                kind,
                company_id: call.company_id,
                agent_id: call.agent_id.map(str::to_owned),
                hour: call.started_at_ms.div_euclid(HOUR_MS),
                dimension,
                value: value.into_owned(),
            };
            *self.hours.entry(key).or_default() += totals;
        }
    }

    /// Adds the differences of a part of the transaction.
    pub(in crate::storage::sqlite) fn append(&mut self, part: Self) {
        for (key, totals) in part.hours {
            *self.hours.entry(key).or_default() += &totals;
        }
    }

    /// Forgets the differences of a transaction that was rolled back.
    pub(in crate::storage::sqlite) fn clear(&mut self) {
        self.hours.clear();
    }

    /// Writes the differences. Must run in the transaction that has changed the rows.
    pub(in crate::storage::sqlite) fn write(&mut self, conn: &Connection) -> Result<(), StoreError> {
        write_totals(conn, &self.take_by_key())
    }

    /// The differences of every period and series. Leaves none.
    pub(super) fn take_by_key(&mut self) -> TotalsByKey {
        let mut by_key = TotalsByKey::new();
        for (hour, totals) in self.hours.drain().filter(|(_, totals)| *totals != CallTotals::default()) {
            for series in series_of(&hour) {
                for span in Span::ALL {
                    let key = TotalsKey {
                        span,
                        dimension: hour.dimension,
                        start: hour.hour.div_euclid(span as i64),
                        kind: hour.kind,
                        series: series.clone(),
                        value: hour.value.clone(),
                    };
                    *by_key.entry(key).or_default() += &totals;
                }
            }
        }
        by_key
    }
}

fn series_of(hour: &HourKey) -> Vec<Series> {
    let agent = Series::Agent(hour.company_id, hour.agent_id.clone());
    match hour.dimension {
        // A version without its agent means nothing.
        CallDimension::AgentVersion => vec![agent],
        _ => vec![Series::All, Series::Company(hour.company_id), agent],
    }
}

fn series_columns(series: &Series) -> (&'static str, Option<CompanyId>, Option<&str>) {
    match series {
        Series::All => ("all", None, None),
        Series::Company(company_id) => ("company", Some(*company_id), None),
        Series::Agent(company_id, agent_id) => ("agent", Some(*company_id), agent_id.as_deref()),
    }
}

pub(super) fn find_series(conn: &Connection, kind: CallKind, series: &Series) -> Result<Option<i64>, StoreError> {
    let (scope, company_id, agent_id) = series_columns(series);
    let mut select = conn.prepare_cached(
        "SELECT id FROM call_series WHERE kind = ?1 AND scope = ?2 AND company_id IS ?3 AND agent_id IS ?4",
    )?;
    Ok(select.query_row(params![kind.as_str(), scope, company_id, agent_id], |row| row.get(0)).optional()?)
}

fn get_or_create_series(conn: &Connection, kind: CallKind, series: &Series) -> Result<i64, StoreError> {
    if let Some(id) = find_series(conn, kind, series)? {
        return Ok(id);
    }
    let (scope, company_id, agent_id) = series_columns(series);
    conn.prepare_cached("INSERT INTO call_series (kind, scope, company_id, agent_id) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![kind.as_str(), scope, company_id, agent_id])?;
    Ok(conn.last_insert_rowid())
}

/// Adds the differences to the stored totals.
pub(super) fn write_totals(conn: &Connection, totals: &TotalsByKey) -> Result<(), StoreError> {
    if totals.is_empty() {
        return Ok(());
    }
    let mut series_ids = HashMap::new();
    let mut add = conn.prepare_cached(
        "INSERT INTO call_totals (span, dimension, start, series, value,
           calls, timed, duration_ms, cents, millionths, evaluated, successful)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, timed = timed + excluded.timed,
           duration_ms = duration_ms + excluded.duration_ms, cents = cents + excluded.cents,
           millionths = millionths + excluded.millionths, evaluated = evaluated + excluded.evaluated,
           successful = successful + excluded.successful",
    )?;
    let mut delete_empty = conn.prepare_cached(
        "DELETE FROM call_totals WHERE span = ?1 AND dimension = ?2 AND start = ?3 AND series = ?4 AND value = ?5
           AND calls = 0",
    )?;
    for (key, totals) in totals.iter().filter(|(_, totals)| **totals != CallTotals::default()) {
        let TotalsKey { span, dimension, start, kind, series, value } = key;
        let series = match series_ids.get(&(*kind, series)) {
            Some(id) => *id,
            None => get_or_create_series(conn, *kind, series)?,
        };
        series_ids.insert((*kind, &key.series), series);
        let (cents, millionths) = totals.total_cost_cents.to_parts();
        add.execute(params![
            *span as i64,
            *dimension as i64,
            start,
            series,
            value,
            totals.calls,
            totals.calls_with_duration,
            totals.total_duration_ms,
            cents,
            millionths,
            totals.calls_with_success_known,
            totals.successful_calls,
        ])?;
        if totals.calls < 0 {
            delete_empty.execute(params![*span as i64, *dimension as i64, start, series, value])?;
        }
    }
    Ok(())
}

pub(super) const TOTALS_COLUMNS: &str = "calls, timed, duration_ms, cents, millionths, evaluated, successful";

/// Reads [`TOTALS_COLUMNS`] that begin at the column `at`.
pub(super) fn totals_from_row(row: &Row, at: usize) -> rusqlite::Result<CallTotals> {
    Ok(CallTotals {
        calls: row.get(at)?,
        calls_with_duration: row.get(at + 1)?,
        total_duration_ms: row.get(at + 2)?,
        total_cost_cents: Cost::from_parts(row.get(at + 3)?, row.get(at + 4)?),
        calls_with_success_known: row.get(at + 5)?,
        successful_calls: row.get(at + 6)?,
    })
}
