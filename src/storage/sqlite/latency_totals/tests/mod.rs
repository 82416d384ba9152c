mod attempts;
mod invocations;
mod rebuild;

use rusqlite::Connection;

use super::check::count_differing_totals;
use super::*;
use crate::base::supervise::Supervisor;
use crate::storage::sqlite::{SqliteStore, SqliteUrl};
use crate::storage::{LatencyFilter, LatencyGrouping, LatencyGroups, LatencyKey};

const START_MS: i64 = 1_795_219_200_000;
const ALL: LatencyFilter =
    LatencyFilter { name: None, company: None, since_ms: None, until_ms: None, grouping: LatencyGrouping::Name };

/// A store of a receiver in a temporary folder.
struct Fixture {
    _folder: tempfile::TempDir,
    url: SqliteUrl,
    store: SqliteStore,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = SqliteUrl::file(folder.path().join("store.db"));
        let store = SqliteStore::open(&url, &Supervisor::default()).unwrap();
        Self { _folder: folder, url, store }
    }

    fn connect(&self, table: TotalsTable) -> Connection {
        let url = if table == TotalsTable::Attempts { self.url.clone() } else { self.url.ledger_url() };
        Connection::open(url.path()).unwrap()
    }

    fn count_differing(&self, table: TotalsTable) -> u64 {
        count_differing_totals(&self.url, table, &mut |_, _| {}).unwrap()
    }

    /// Compares the totals with the rows, and the statistics with the counts by name and outcome that this query reads.
    fn assert_exact(&self, table: TotalsTable, stats: &LatencyGroups, count_rows: &str) {
        assert_eq!(self.count_differing(table), 0);
        let conn = self.connect(table);
        let empty = format!("SELECT count(*) FROM {} WHERE count <= 0", table.name());
        assert_eq!(conn.query_row(&empty, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
        let mut select = conn.prepare(count_rows).unwrap();
        let counted = select.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?))).unwrap();
        let counted: BTreeMap<(String, String), u64> = counted.collect::<Result<_, _>>().unwrap();
        let mut found = BTreeMap::new();
        for (key, group) in stats {
            let LatencyKey::Text(name) = key else { panic!("{key:?}") };
            found.extend(group.by_outcome.iter().map(|(outcome, count)| ((name.clone(), outcome.clone()), *count)));
        }
        assert_eq!(found, counted);
    }
}
