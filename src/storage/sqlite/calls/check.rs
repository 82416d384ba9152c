//! Compares the totals with the rows of calls, and corrects them, one day or month at a time.
//!
//! A difference is found in one snapshot and added in a later transaction. Calls that are merged in between change the rows
//! and the totals by the same amounts, so the difference stays the same and the receiver does not have to wait.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::row::table_name;
use super::stats::for_each_counted;
use super::totals::{
    PendingTotals, Series, Span, TOTALS_COLUMNS, TotalsByKey, TotalsKey, totals_from_row, write_totals,
};
use crate::calls::{CallDimension, CallKind, CallTotals};
use crate::storage::{StoreError, TotalsPosition};

/// Totals corrected in one transaction; the receiver's commits wait meanwhile.
const MAX_CORRECTIONS: usize = 1_000;

/// The totals of one period compared with what they are made of.
pub(in crate::storage::sqlite) struct PeriodCheck {
    /// What has to be added to the totals.
    differences: TotalsByKey,
    pub(in crate::storage::sqlite) calls: u64,
    pub(in crate::storage::sqlite) position: TotalsPosition,
    /// Where to continue; `None` at the end.
    pub(in crate::storage::sqlite) next: Option<TotalsPosition>,
    /// Number of corrections in the snapshot.
    corrections: i64,
}

impl PeriodCheck {
    pub(in crate::storage::sqlite) fn differing_totals(&self) -> usize {
        self.differences.len()
    }

    /// Whether the next period can be checked after [`PeriodCheck::correct`].
    pub(in crate::storage::sqlite) fn fits_one_correction(&self) -> bool {
        self.differences.len() <= MAX_CORRECTIONS
    }

    /// Adds the differences, or the first of them. Returns the number of corrected totals; `None` when another command
    /// has corrected totals since the check, perhaps the same ones.
    pub(in crate::storage::sqlite) fn correct(&self, conn: &Connection) -> Result<Option<usize>, StoreError> {
        if self.corrections != count_corrections(conn)? {
            return Ok(None);
        }
        conn.prepare_cached(
            "INSERT INTO progress (name, value) VALUES ('call_totals_corrections', 1)
             ON CONFLICT DO UPDATE SET value = value + 1",
        )?
        .execute([])?;
        let part = self.differences.iter().take(MAX_CORRECTIONS).map(|(key, totals)| (key.clone(), *totals));
        let part: TotalsByKey = part.collect();
        write_totals(conn, &part)?;
        Ok(Some(part.len()))
    }
}

fn count_corrections(conn: &Connection) -> Result<i64, StoreError> {
    let mut select = conn.prepare_cached("SELECT value FROM progress WHERE name = 'call_totals_corrections'")?;
    Ok(select.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Checks the first period at or after `position`: days first, from the rows of calls, then months, from the days. Must run
/// in one snapshot.
pub(in crate::storage::sqlite) fn check_period(
    conn: &Connection,
    position: TotalsPosition,
) -> Result<PeriodCheck, StoreError> {
    let corrections = count_corrections(conn)?;
    let done = |position, next, calls, differences| PeriodCheck { differences, calls, position, next, corrections };
    match position {
        TotalsPosition::Day(from) => {
            let Some(day) = next_day(conn, from)? else {
                let months = TotalsPosition::Month(i64::MIN);
                return Ok(done(months, Some(months), 0, TotalsByKey::new()));
            };
            let (calls, differences) = compare_day(conn, day)?;
            let next = day.checked_add(1).map_or(TotalsPosition::Month(i64::MIN), TotalsPosition::Day);
            Ok(done(TotalsPosition::Day(day), Some(next), calls, differences))
        }
        TotalsPosition::Month(from) => {
            let days = first_start(conn, Span::Day, from.saturating_mul(DAYS_PER_MONTH))?;
            let months = first_start(conn, Span::Month, from)?;
            let month = days.map(|day| day.div_euclid(DAYS_PER_MONTH)).into_iter().chain(months).min();
            let Some(month) = month else { return Ok(done(position, None, 0, TotalsByKey::new())) };
            let differences = compare_month(conn, month)?;
            Ok(done(TotalsPosition::Month(month), month.checked_add(1).map(TotalsPosition::Month), 0, differences))
        }
    }
}

const DAYS_PER_MONTH: i64 = Span::Month as i64 / Span::Day as i64;
const HOURS_PER_DAY: i64 = Span::Day as i64;

/// The first day from `from` on with a call or a total.
fn next_day(conn: &Connection, from: i64) -> Result<Option<i64>, StoreError> {
    let mut days = Vec::new();
    for kind in [CallKind::Call, CallKind::Chat] {
        let sql = format!(
            "SELECT coalesce(started_at_ms, first_event_at_ms) FROM {table} INDEXED BY {table}_start
             WHERE coalesce(started_at_ms, first_event_at_ms) >= ?1
             ORDER BY coalesce(started_at_ms, first_event_at_ms) LIMIT 1",
            table = table_name(kind)
        );
        let mut first = conn.prepare_cached(&sql)?;
        let start_ms = first.query_row([from.saturating_mul(Span::Day.ms())], |row| row.get::<_, i64>(0)).optional()?;
        days.extend(start_ms.map(|ms| ms.div_euclid(Span::Day.ms())));
    }
    let hour = first_start(conn, Span::Hour, from.saturating_mul(HOURS_PER_DAY))?;
    days.extend(hour.map(|hour| hour.div_euclid(HOURS_PER_DAY)));
    days.extend(first_start(conn, Span::Day, from)?);
    Ok(days.into_iter().min())
}

fn first_start(conn: &Connection, span: Span, from: i64) -> Result<Option<i64>, StoreError> {
    let mut first = conn.prepare_cached(
        "SELECT start FROM call_totals WHERE span = ?1 AND dimension = ?2 AND start >= ?3 ORDER BY start LIMIT 1",
    )?;
    let mut starts = Vec::new();
    for dimension in CallDimension::ALL {
        let values = params![span as i64, dimension as i64, from];
        starts.extend(first.query_row(values, |row| row.get::<_, i64>(0)).optional()?);
    }
    Ok(starts.into_iter().min())
}

/// Counts the calls of a day and compares its total and those of its hours.
fn compare_day(conn: &Connection, day: i64) -> Result<(u64, TotalsByKey), StoreError> {
    let mut counted = PendingTotals::default();
    let mut calls = 0;
    let since_ms = day.saturating_mul(Span::Day.ms());
    for kind in [CallKind::Call, CallKind::Chat] {
        for_each_counted(conn, kind, since_ms, since_ms.saturating_add(Span::Day.ms()), &mut |call| {
            calls += 1;
            counted.count(kind, call);
        })?;
    }
    let mut differences = counted.take_by_key();
    differences.retain(|key, _| key.span != Span::Month);
    let first_hour = day.saturating_mul(HOURS_PER_DAY);
    subtract_stored(conn, Span::Hour, first_hour..first_hour.saturating_add(HOURS_PER_DAY), &mut differences)?;
    subtract_stored(conn, Span::Day, day..day.saturating_add(1), &mut differences)?;
    Ok((calls, differences))
}

/// Adds up the days of a month and compares its total.
fn compare_month(conn: &Connection, month: i64) -> Result<TotalsByKey, StoreError> {
    let mut differences = TotalsByKey::new();
    let first_day = month.saturating_mul(DAYS_PER_MONTH);
    let days = first_day..first_day.saturating_add(DAYS_PER_MONTH);
    for_each_stored(conn, Span::Day, days, &mut |key, totals| {
        let key = TotalsKey { span: Span::Month, start: month, ..key };
        *differences.entry(key).or_default() += &totals;
    })?;
    subtract_stored(conn, Span::Month, month..month.saturating_add(1), &mut differences)?;
    Ok(differences)
}

/// Leaves the differences between what was counted and what is stored.
fn subtract_stored(
    conn: &Connection,
    span: Span,
    starts: std::ops::Range<i64>,
    counted: &mut TotalsByKey,
) -> Result<(), StoreError> {
    for_each_stored(conn, span, starts, &mut |key, totals| *counted.entry(key).or_default() += &-totals)?;
    counted.retain(|_, difference| *difference != CallTotals::default());
    Ok(())
}

fn for_each_stored(
    conn: &Connection,
    span: Span,
    starts: std::ops::Range<i64>,
    visit: &mut dyn FnMut(TotalsKey, CallTotals),
) -> Result<(), StoreError> {
    let mut all_series = HashMap::new();
    let mut rows = conn.prepare_cached("SELECT id, kind, scope, company_id, agent_id FROM call_series")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, scope): (String, String) = (row.get(1)?, row.get(2)?);
        let kind = if kind == CallKind::Chat.as_str() { CallKind::Chat } else { CallKind::Call };
        let series = match scope.as_str() {
            "all" => Series::All,
            "company" => Series::Company(row.get(3)?),
            _ => Series::Agent(row.get(3)?, row.get(4)?),
        };
        all_series.insert(row.get::<_, i64>(0)?, (kind, series));
    }
    let sql = format!(
        "SELECT start, series, value, {TOTALS_COLUMNS} FROM call_totals
         WHERE span = ?1 AND dimension = ?2 AND start >= ?3 AND start < ?4"
    );
    let mut select = conn.prepare_cached(&sql)?;
    for dimension in CallDimension::ALL {
        let mut rows = select.query(params![span as i64, dimension as i64, starts.start, starts.end])?;
        while let Some(row) = rows.next()? {
            // A row of an unknown series is read by no query.
            let Some((kind, series)) = all_series.get(&row.get(1)?) else { continue };
            let key = TotalsKey {
                span,
                dimension,
                start: row.get(0)?,
                kind: *kind,
                series: series.clone(),
                value: row.get(2)?,
            };
            visit(key, totals_from_row(row, 3)?);
        }
    }
    Ok(())
}

/// Compares all totals with the calls, and returns the number of those that differ. `progress` gets the number of calls
/// counted so far.
pub(in crate::storage::sqlite) fn count_differing_totals(
    conn: &Connection,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, StoreError> {
    let mut next = Some(TotalsPosition::START);
    let (mut calls, mut differing) = (0, 0);
    while let Some(position) = next {
        // A snapshot per period, so that the log can start over in between.
        let snapshot = conn.unchecked_transaction()?;
        let check = check_period(&snapshot, position)?;
        drop(snapshot);
        calls += check.calls;
        differing += check.differing_totals() as u64;
        next = check.next;
        progress(calls);
    }
    Ok(differing)
}

/// About the number of calls and chats; rows that were deleted count as well.
pub(in crate::storage::sqlite) fn estimate_calls(conn: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT coalesce((SELECT max(id) FROM calls), 0) + coalesce((SELECT max(id) FROM chats), 0)";
    Ok(conn.query_row(sql, [], |row| row.get(0))?)
}
