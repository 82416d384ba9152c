//! Totals of what ends with an outcome after a time: attempts by handler, and invocations by function. Per period,
//! company, name, outcome and bucket of duration.
//!
//! A function that inserts, changes or deletes such a row adds the difference to [`PendingCounts`], which is written in the
//! same transaction. So totals and rows agree at any commit. Differences are added, never assigned: their order does not
//! matter.

mod check;
mod stats;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, Row, params};

pub(super) use self::check::{Differences, TotalsComparison, count_differing_totals, estimate_rows};
pub(super) use self::stats::read_stats;
use crate::base::histogram::LogHistogram;
use crate::storage::{AttemptOutcome, HandlerId, InvocationState, Seq, StoreError};

const HOUR_MS: i64 = 3_600_000;
const DAY_HOURS: i64 = 24;
/// Totals of all companies together.
const ALL_COMPANIES: i64 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TotalsTable {
    Attempts,
    /// Its table is in the invocation ledger, a separate database.
    Invocations,
}

impl TotalsTable {
    fn name(self) -> &'static str {
        match self {
            Self::Attempts => "attempt_totals",
            Self::Invocations => "invocation_totals",
        }
    }
}

/// An attempt or an invocation that has ended.
#[derive(Debug)]
pub(super) struct EndedRun<'a> {
    pub(super) company_id: i64,
    /// Of the handler or function.
    pub(super) name: &'a str,
    pub(super) outcome: &'static str,
    pub(super) began_at_ms: i64,
    pub(super) duration_ms: i64,
}

/// Identifies the smallest total, from which all others are added up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HourKey {
    company_id: i64,
    hour: i64,
    name: Arc<str>,
    outcome: Cow<'static, str>,
    bucket: u8,
}

/// Identifies a row, in the order of the primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TotalKey {
    company_id: i64,
    span: i64,
    start: i64,
    name: Arc<str>,
    outcome: Cow<'static, str>,
    bucket: u8,
}

type CountsByKey = BTreeMap<TotalKey, i64>;

/// Differences that are not written yet.
#[derive(Debug, Default)]
pub(super) struct PendingCounts(HashMap<HourKey, i64>);

impl PendingCounts {
    pub(super) fn add(&mut self, run: &EndedRun) {
        self.change(run, Arc::from(run.name), 1);
    }

    pub(super) fn subtract(&mut self, run: &EndedRun) {
        self.change(run, Arc::from(run.name), -1);
    }

    fn change(&mut self, run: &EndedRun, name: Arc<str>, difference: i64) {
        let key = HourKey {
            company_id: run.company_id,
            hour: run.began_at_ms.div_euclid(HOUR_MS),
            name,
            outcome: Cow::Borrowed(run.outcome),
            bucket: LogHistogram::bucket(u64::try_from(run.duration_ms).unwrap_or(0)),
        };
        *self.0.entry(key).or_default() += difference;
    }

    /// The differences of every period, and of all companies.
    fn by_key(&self) -> CountsByKey {
        let mut by_key = CountsByKey::new();
        for (HourKey { company_id, hour, name, outcome, bucket }, difference) in &self.0 {
            for company_id in [ALL_COMPANIES, *company_id] {
                for span in [1, DAY_HOURS] {
                    let start = hour.div_euclid(span);
                    let (name, outcome) = (Arc::clone(name), outcome.clone());
                    let key = TotalKey { company_id, span, start, name, outcome, bucket: *bucket };
                    *by_key.entry(key).or_default() += difference;
                }
            }
        }
        by_key
    }

    /// Writes the differences. Must run in the transaction that changes the rows.
    pub(super) fn write(&self, conn: &Connection, table: TotalsTable) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        write_counts(conn, table, &self.by_key())
    }
}

fn write_counts(conn: &Connection, table: TotalsTable, counts: &CountsByKey) -> Result<(), StoreError> {
    let mut add = conn.prepare_cached(&format!(
        "INSERT INTO {} (company_id, span, start, name, outcome, bucket, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT DO UPDATE SET count = count + excluded.count",
        table.name()
    ))?;
    let mut delete_empty = conn.prepare_cached(&format!(
        "DELETE FROM {} WHERE company_id = ?1 AND span = ?2 AND start = ?3 AND name = ?4 AND outcome = ?5 AND bucket = ?6
           AND count = 0",
        table.name()
    ))?;
    for (TotalKey { company_id, span, start, name, outcome, bucket }, count) in counts {
        if *count != 0 {
            add.execute(params![company_id, span, start, name, outcome, bucket, count])?;
        }
        if *count < 0 {
            delete_empty.execute(params![company_id, span, start, name, outcome, bucket])?;
        }
    }
    Ok(())
}

/// The columns that [`ended_invocation`] reads.
pub(super) const INVOCATION_COLUMNS: &str = "company_id, function, state, received_at_ms, ended_at_ms";

/// The invocation in a row that begins with [`INVOCATION_COLUMNS`], if totals count it: one that runs has not ended, and
/// neither has one that was replaced while it ran.
pub(super) fn ended_invocation<'a>(row: &'a Row) -> rusqlite::Result<Option<EndedRun<'a>>> {
    let Some(ended_at_ms) = row.get::<_, Option<i64>>(4)? else { return Ok(None) };
    let Some(state) = InvocationState::from_name(row.get_ref(2)?.as_str()?) else { return Ok(None) };
    let began_at_ms: i64 = row.get(3)?;
    Ok(Some(EndedRun {
        company_id: row.get(0)?,
        name: row.get_ref(1)?.as_str()?,
        outcome: state.as_str(),
        began_at_ms,
        duration_ms: ended_at_ms - began_at_ms,
    }))
}

/// Subtracts all recorded attempts of a delivery, the one in its own row included.
pub(super) fn subtract_attempts(
    conn: &Connection,
    counts: &mut PendingCounts,
    handler: HandlerId,
    seq: Seq,
) -> Result<(), StoreError> {
    let mut select = conn.prepare_cached(
        "SELECT d.company_id, h.name, 'done', d.started_at_ms, d.duration_ms FROM deliveries d
         JOIN handlers h ON h.id = d.handler_id
         WHERE d.handler_id = ?1 AND d.event_seq = ?2 AND d.started_at_ms IS NOT NULL
         UNION ALL SELECT d.company_id, h.name, a.outcome, a.started_at_ms, a.duration_ms FROM attempts a
         JOIN deliveries d ON d.handler_id = a.handler_id AND d.event_seq = a.event_seq
         JOIN handlers h ON h.id = a.handler_id
         WHERE a.handler_id = ?1 AND a.event_seq = ?2",
    )?;
    let mut rows = select.query(params![handler, seq])?;
    while let Some(row) = rows.next()? {
        if let Some(run) = ended_attempt(row)? {
            counts.subtract(&run);
        }
    }
    Ok(())
}

/// The attempt in a row of company, name of the handler, outcome, start and duration.
fn ended_attempt<'a>(row: &'a Row) -> rusqlite::Result<Option<EndedRun<'a>>> {
    let Some(outcome) = AttemptOutcome::from_name(row.get_ref(2)?.as_str()?) else { return Ok(None) };
    Ok(Some(EndedRun {
        company_id: row.get(0)?,
        name: row.get_ref(1)?.as_str()?,
        outcome: outcome.as_str(),
        began_at_ms: row.get(3)?,
        duration_ms: row.get(4)?,
    }))
}
