//! Reads statistics from the totals.

use rusqlite::{Connection, OptionalExtension, params};

use super::{ALL_COMPANIES, DAY_HOURS, HOUR_MS, TotalsTable};
use crate::storage::{LatencyFilter, LatencyGroup, LatencyGrouping, LatencyGroups, LatencyKey, StoreError};

/// Periods of one length, without the last.
struct Periods {
    span: i64,
    from: i64,
    to: i64,
}

/// The counts of the groups that the filter selects.
pub(in crate::storage::sqlite) fn read_stats(
    conn: &Connection,
    table: TotalsTable,
    filter: &LatencyFilter,
) -> Result<LatencyGroups, StoreError> {
    let sql = format!(
        "SELECT start, name, outcome, bucket, count FROM {} WHERE company_id = ?1 AND span = ?2 AND start >= ?3 AND start < ?4
         AND (?5 IS NULL OR name = ?5) AND count > 0",
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
    use crate::storage::sqlite::latency_totals::{EndedRun, PendingCounts};

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
}
