//! Which ledger a receiver starts with. A ledger that is damaged or missing must not keep it from receiving events: a
//! new one is begun, and what that means is logged.

use rusqlite::{Connection, OptionalExtension, params};

use crate::storage::sqlite::files::set_aside_database;
use crate::storage::sqlite::{SqliteUrl, errors, open};
use crate::storage::{StoreError, StoreErrorKind};

/// What the loss of a ledger means, for the log.
const LOST_INVOCATIONS: &str = "custom functions work with a new ledger; a request of the last day that Retell repeats, \
                                or that is in progress, may run its function again";

const OWN_TABLES: &str = "name IN ('invocations', 'invocation_signatures', 'ledger_identity', 'probes')";

/// Opens the ledger that belongs to the database `store`. A damaged one is set aside.
pub(in crate::storage::sqlite) fn open_ledger(url: &SqliteUrl, store: &Connection) -> Result<Connection, StoreError> {
    let ledger_url = url.ledger_url();
    let expected_id = read_ledger_id(store).map_err(|error| errors::unusable(url, error))?;
    let mut is_missing = std::fs::metadata(ledger_url.path()).map_or(true, |file| file.len() == 0);
    if !is_missing && let Some(damage) = find_damage(&ledger_url)? {
        set_damaged_aside(&ledger_url, &damage)?;
        is_missing = true;
    } else if is_missing && expected_id.is_some() {
        tracing::error!(
            path = %ledger_url.path().display(),
            next = LOST_INVOCATIONS,
            "invocation ledger missing"
        );
    }
    let conn = open::open_ledger(url)?;
    link(&conn, store, expected_id, is_missing).map_err(|error| errors::unusable(&ledger_url, error))?;
    Ok(conn)
}

/// Moves the ledger away, so that the next start begins a new one.
pub(super) fn set_damaged_aside(ledger: &SqliteUrl, damage: &str) -> Result<(), StoreError> {
    let Some(moved_to) = set_aside_database(ledger, "damaged")? else { return Ok(()) };
    tracing::error!(
        path = %ledger.path().display(),
        moved_to = %moved_to.display(),
        error = damage,
        next = LOST_INVOCATIONS,
        "invocation ledger damaged"
    );
    Ok(())
}

/// What is wrong with the file; `None` for a ledger in order. Other errors, such as a lock, are not damage.
fn find_damage(ledger: &SqliteUrl) -> Result<Option<String>, StoreError> {
    let checked = open::open_checkpointer(ledger).and_then(|conn| {
        let result: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if result != "ok" {
            return Ok(Some(result));
        }
        // Of another program, or without its tables: every statement would fail. A ledger of another version is refused
        // or updated when it is opened.
        let count = |condition: &str| -> rusqlite::Result<i64> {
            let sql = format!("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND {condition}");
            conn.query_row(&sql, [], |row| row.get(0))
        };
        let is_foreign = match conn.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
            0 => count("true")? > 0,
            version => open::is_current_ledger_version(version) && count(OWN_TABLES)? < 4,
        };
        Ok(is_foreign.then(|| "it is not an invocation ledger".to_owned()))
    });
    match checked {
        Err(error) if error.kind() == StoreErrorKind::Corrupt => Ok(Some(errors::cause_text(&error))),
        other => other,
    }
}

/// Makes the database and its ledger name the same id. A different one shows that a ledger was replaced.
fn link(ledger: &Connection, store: &Connection, expected: Option<Vec<u8>>, is_new: bool) -> rusqlite::Result<()> {
    let found = read_ledger_id(ledger)?;
    if let (Some(expected), Some(found), false) = (&expected, &found, is_new)
        && expected != found
    {
        tracing::error!(next = LOST_INVOCATIONS, "invocation ledger of another store");
    }
    let id = match expected.or(found) {
        Some(id) => id,
        None => ledger.query_row("SELECT randomblob(16)", [], |row| row.get(0))?,
    };
    for conn in [ledger, store] {
        if read_ledger_id(conn)?.as_ref() != Some(&id) {
            conn.execute("INSERT OR REPLACE INTO ledger_identity (id, ledger_id) VALUES (1, ?1)", params![id])?;
        }
    }
    Ok(())
}

fn read_ledger_id(conn: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    conn.query_row("SELECT ledger_id FROM ledger_identity", [], |row| row.get(0)).optional()
}
