//! Totals of what ends with an outcome after a time: attempts by handler, and invocations by function. Per period,
//! company, name, outcome and bucket of duration.
//!
//! They are changed in the transaction that records an end, have no personal data, and are kept for 90 days, also when
//! what they count is deleted or erased. So they cannot be computed again.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::base::histogram::LogHistogram;
use crate::storage::{LatencyFilter, LatencyGroup, LatencyGrouping, LatencyGroups, LatencyKey, StoreError};

const HOUR_MS: i64 = 3_600_000;
const DAY_HOURS: i64 = 24;
/// Totals of all companies together.
const ALL_COMPANIES: i64 = 0;
const RETENTION_HOURS: i64 = 90 * DAY_HOURS;

#[derive(Clone, Copy, Debug)]
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

/// Identifies a row, in the order of the primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TotalKey {
    company_id: i64,
    span: i64,
    start: i64,
    name: String,
    outcome: &'static str,
    bucket: u8,
}

/// Numbers that are not written yet.
#[derive(Debug, Default)]
pub(super) struct PendingCounts(BTreeMap<TotalKey, u64>);

impl PendingCounts {
    pub(super) fn add(&mut self, run: &EndedRun) {
        let hour = run.began_at_ms.div_euclid(HOUR_MS);
        let bucket = LogHistogram::bucket(u64::try_from(run.duration_ms).unwrap_or(0));
        for company_id in [ALL_COMPANIES, run.company_id] {
            for span in [1, DAY_HOURS] {
                let (start, name) = (hour.div_euclid(span), run.name.to_owned());
                let key = TotalKey { company_id, span, start, name, outcome: run.outcome, bucket };
                *self.0.entry(key).or_default() += 1;
            }
        }
    }

    /// Writes the numbers. Must run in the transaction that records the ends.
    pub(super) fn write(&self, conn: &Connection, table: TotalsTable) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO {} (company_id, span, start, name, outcome, bucket, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET count = count + excluded.count",
            table.name()
        );
        let mut add = conn.prepare_cached(&sql)?;
        for (TotalKey { company_id, span, start, name, outcome, bucket }, count) in &self.0 {
            add.execute(params![company_id, span, start, name, outcome, bucket, count])?;
        }
        Ok(())
    }
}

/// Deletes totals that are too old, at most `limit` per company and length of period.
pub(super) fn purge(conn: &Connection, table: TotalsTable, now_ms: i64, limit: i64) -> Result<usize, StoreError> {
    let oldest_hour = now_ms.div_euclid(HOUR_MS) - RETENTION_HOURS;
    let name = table.name();
    let mut next_company = conn.prepare_cached(&format!("SELECT min(company_id) FROM {name} WHERE company_id > ?1"))?;
    let mut delete = conn.prepare_cached(&format!(
        "DELETE FROM {name} WHERE (company_id, span, start, name, outcome, bucket) IN
           (SELECT company_id, span, start, name, outcome, bucket FROM {name}
            WHERE company_id = ?1 AND span = ?2 AND start < ?3 LIMIT ?4)"
    ))?;
    let mut removed = 0;
    let mut company = -1;
    while let Some(next) = next_company.query_row([company], |row| row.get::<_, Option<i64>>(0))? {
        company = next;
        for span in [1, DAY_HOURS] {
            removed += delete.execute(params![company, span, oldest_hour.div_euclid(span), limit])?;
        }
    }
    Ok(removed)
}

/// Periods of one length, without the last.
struct Periods {
    span: i64,
    from: i64,
    to: i64,
}

/// The counts of the groups that the filter selects.
pub(super) fn read_stats(
    conn: &Connection,
    table: TotalsTable,
    filter: &LatencyFilter,
) -> Result<LatencyGroups, StoreError> {
    let sql = format!(
        "SELECT start, name, outcome, bucket, count FROM {} WHERE company_id = ?1 AND span = ?2 AND start >= ?3 AND start < ?4
         AND (?5 IS NULL OR name = ?5)",
        table.name()
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut groups = LatencyGroups::new();
    for (company, slug) in companies(conn, filter)? {
        for Periods { span, from, to } in periods(filter) {
            let mut rows = select.query(params![company, span, from, to, filter.name])?;
            while let Some(row) = rows.next()? {
                let (start, name): (i64, String) = (row.get(0)?, row.get(1)?);
                let hour = start * span;
                let key = match filter.grouping {
                    LatencyGrouping::Name => LatencyKey::Text(name),
                    LatencyGrouping::Company => LatencyKey::Text(slug.clone()),
                    LatencyGrouping::Day => LatencyKey::StartMs(hour.div_euclid(DAY_HOURS) * DAY_HOURS * HOUR_MS),
                    LatencyGrouping::Hour => LatencyKey::StartMs(hour * HOUR_MS),
                };
                let LatencyGroup { by_outcome, durations } = groups.entry(key).or_default();
                let count: u64 = row.get(4)?;
                *by_outcome.entry(row.get(2)?).or_default() += count;
                durations.add(row.get(3)?, count);
            }
        }
    }
    Ok(groups)
}

/// Whole days, and the hours before and after them.
fn periods(filter: &LatencyFilter) -> Vec<Periods> {
    let since = filter.since_ms.map_or(0, |ms| ms.div_euclid(HOUR_MS));
    let until = filter.until_ms.map_or(i64::from(i32::MAX), |ms| ms.div_euclid(HOUR_MS) + i64::from(ms % HOUR_MS != 0));
    if filter.grouping == LatencyGrouping::Hour {
        return vec![Periods { span: 1, from: since, to: until }];
    }
    let first_day = since.div_euclid(DAY_HOURS) + i64::from(since % DAY_HOURS != 0);
    let last_day = until.div_euclid(DAY_HOURS).max(first_day);
    let before = Periods { span: 1, from: since, to: until.min(first_day * DAY_HOURS) };
    let after = Periods { span: 1, from: (last_day * DAY_HOURS).max(before.to), to: until };
    vec![before, Periods { span: DAY_HOURS, from: first_day, to: last_day }, after]
}

/// The companies whose totals are read, each with its slug.
fn companies(conn: &Connection, filter: &LatencyFilter) -> Result<Vec<(i64, String)>, StoreError> {
    if let Some(slug) = &filter.company {
        let mut find = conn.prepare_cached("SELECT id FROM companies WHERE slug = ?1")?;
        let found: Option<i64> = find.query_row([slug], |row| row.get(0)).optional()?;
        return Ok(found.map(|id| (id, slug.clone())).into_iter().collect());
    }
    if filter.grouping != LatencyGrouping::Company {
        return Ok(vec![(ALL_COMPANIES, String::new())]);
    }
    let mut all = conn.prepare_cached("SELECT id, slug FROM companies")?;
    let all = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(all.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../../../../migrations/sqlite-ledger/0001_ledger.sql")).unwrap();
        conn.execute_batch(
            "CREATE TABLE companies (id INTEGER, slug TEXT); INSERT INTO companies VALUES (1, 'a'), (2, 'b')",
        )
        .unwrap();
        conn
    }

    const TABLE: TotalsTable = TotalsTable::Invocations;

    fn count(conn: &Connection, company_id: i64, name: &str, outcome: &'static str, began_at_ms: i64) {
        let mut counts = PendingCounts::default();
        counts.add(&EndedRun { company_id, name, outcome, began_at_ms, duration_ms: 100 });
        counts.write(conn, TABLE).unwrap();
    }

    fn filter(grouping: LatencyGrouping) -> LatencyFilter {
        LatencyFilter { name: None, company: None, since_ms: None, until_ms: None, grouping }
    }

    #[test]
    fn every_range_and_grouping_counts_what_was_received_in_it() {
        let conn = ledger();
        let hours: Vec<i64> = vec![5, 23, 24, 30, 47, 48, 100];
        for hour in &hours {
            for (company_id, function, state) in [(1, "weather", "done"), (2, "book", "failed")] {
                count(&conn, company_id, function, state, hour * HOUR_MS + 7);
            }
        }
        for (since, until) in [(0, 200), (5, 6), (6, 24), (20, 30), (23, 101), (24, 48), (30, 30), (49, 100)] {
            let wanted = hours.iter().filter(|hour| (since..until).contains(*hour)).count() as u64;
            let range = |grouping| LatencyFilter {
                since_ms: Some(since * HOUR_MS),
                until_ms: Some(until * HOUR_MS),
                ..filter(grouping)
            };
            for grouping in
                [LatencyGrouping::Name, LatencyGrouping::Company, LatencyGrouping::Day, LatencyGrouping::Hour]
            {
                let groups = read_stats(&conn, TABLE, &range(grouping)).unwrap();
                let counted: u64 = groups.values().map(|group| group.durations.total_count()).sum();
                assert_eq!(counted, 2 * wanted, "{since} to {until} by {grouping:?}");
            }
            let of_company = LatencyFilter { company: Some("a".into()), ..range(LatencyGrouping::Name) };
            let groups = read_stats(&conn, TABLE, &of_company).unwrap();
            let done = groups.get(&LatencyKey::Text("weather".into())).map_or(0, |group| group.by_outcome["done"]);
            assert_eq!((done, groups.len()), (wanted, usize::from(wanted > 0)), "{since} to {until}");
        }
        let unknown = LatencyFilter { company: Some("x".into()), ..filter(LatencyGrouping::Name) };
        assert!(read_stats(&conn, TABLE, &unknown).unwrap().is_empty());
    }

    #[test]
    fn old_totals_are_deleted() {
        let conn = ledger();
        count(&conn, 1, "weather", "done", 7 * HOUR_MS);
        let end_ms = (RETENTION_HOURS + DAY_HOURS + 8) * HOUR_MS;
        assert_eq!(purge(&conn, TABLE, (RETENTION_HOURS + 7) * HOUR_MS, 100).unwrap(), 0);
        assert_eq!(purge(&conn, TABLE, end_ms, 100).unwrap(), 4);
        assert!(read_stats(&conn, TABLE, &filter(LatencyGrouping::Name)).unwrap().is_empty());
    }
}
