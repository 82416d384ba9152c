//! Counts the pages of the database that queries read, so that none silently becomes a scan. For tests.

use std::fs;

use super::bodies::BodyReader;
use super::readers::ReaderContext;
use super::wal::SyncState;
use super::{SqliteUrl, open};
use crate::storage::StoreError;

/// Size of a page, SQLite's default.
const PAGE_BYTES: u64 = 4096;

/// A query whose pages are counted.
pub(super) type PageQuery<'a> = &'a dyn Fn(&ReaderContext);

/// A query with a name for messages.
pub(super) struct NamedQuery<'a> {
    pub(super) name: &'a str,
    pub(super) run: PageQuery<'a>,
}

/// Asserts that the queries read about as many pages of a large store as of a small one. Both must be closed, so that all
/// pages are in the database. Ten times the rows make a scan ten times as long, but an index one level deeper at most.
pub(super) fn assert_pages_bounded(small: &SqliteUrl, large: &SqliteUrl, queries: &[NamedQuery]) {
    for NamedQuery { name, run } in queries {
        let few = count_pages(small, run);
        let many = count_pages(large, run);
        assert!(few > 0, "{name}: nothing was read");
        assert!(many <= 2 * few + 10, "{name}: {few} pages of the small store, {many} of the large one");
    }
}

/// Number of pages that `query` reads through a new connection, whose cache is empty.
pub(super) fn count_pages(url: &SqliteUrl, query: impl Fn(&ReaderContext)) -> u64 {
    let conn = open::open_reader(url).unwrap();
    let identity_key = open::load_identity_key(&conn).unwrap();
    // SQLite keeps the pages that were read so far: the schema and the key.
    let reader = ReaderContext {
        conn,
        ledger: Err(StoreError::unavailable("not attached")),
        bodies: BodyReader::new(url),
        identity_key,
        sync: SyncState::of_command(url),
    };
    let before = bytes_read();
    query(&reader);
    // What reading the figure itself adds is less than a page.
    (bytes_read() - before) / PAGE_BYTES
}

/// Bytes that this thread has read from files so far. SQLite reads every page that is not in its cache with one system
/// call, whether or not the page is in the cache of the operating system.
fn bytes_read() -> u64 {
    let figures = fs::read_to_string("/proc/thread-self/io").unwrap();
    let bytes = figures.lines().find_map(|line| line.strip_prefix("rchar: "));
    bytes.and_then(|bytes| bytes.parse().ok()).unwrap()
}

#[tokio::test]
async fn a_scan_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut urls = Vec::new();
    for rows in [2_000, 20_000] {
        let url = SqliteUrl::file(folder.path().join(format!("{rows}.db")));
        let conn = rusqlite::Connection::open(url.path()).unwrap();
        for step in open::MIGRATIONS.steps {
            conn.execute_batch(step).unwrap();
        }
        let insert = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
            INSERT INTO duplicates (event_seq, count, last_at_ms) SELECT n, 1, 1 FROM n";
        conn.execute(insert, [rows]).unwrap();
        urls.push(url);
    }
    let count = |url: &SqliteUrl, sql: &str| {
        count_pages(url, |reader| reader.conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map(drop).unwrap())
    };
    let lookup = "SELECT count FROM duplicates WHERE event_seq = 1000";
    let scan = "SELECT sum(count) FROM duplicates";
    assert_eq!((count(&urls[0], lookup), count(&urls[1], lookup)), (2, 2), "root and leaf");
    let (few, many) = (count(&urls[0], scan), count(&urls[1], scan));
    assert!(many > 2 * few + 10, "{few} and {many} pages");
}
