//! Opening the file: folders and permissions, settings, migrations, the one-receiver lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::SqliteUrl;
use super::errors::unusable;
use crate::storage::{IdentityKey, StoreError};

pub(super) const MIGRATIONS: [&str; 12] = [
    include_str!("../../../migrations/sqlite/0001_events.sql"),
    include_str!("../../../migrations/sqlite/0002_rejected.sql"),
    include_str!("../../../migrations/sqlite/0003_deliveries.sql"),
    include_str!("../../../migrations/sqlite/0004_calls.sql"),
    include_str!("../../../migrations/sqlite/0005_alarms.sql"),
    include_str!("../../../migrations/sqlite/0006_retention.sql"),
    include_str!("../../../migrations/sqlite/0007_inbound.sql"),
    include_str!("../../../migrations/sqlite/0008_invocations.sql"),
    include_str!("../../../migrations/sqlite/0009_appointments.sql"),
    include_str!("../../../migrations/sqlite/0010_customers.sql"),
    include_str!("../../../migrations/sqlite/0011_ledger.sql"),
    include_str!("../../../migrations/sqlite/0012_names.sql"),
];
const LEDGER_MIGRATIONS: [&str; 2] = [
    include_str!("../../../migrations/sqlite-ledger/0001_invocations.sql"),
    include_str!("../../../migrations/sqlite-ledger/0002_names.sql"),
];

/// How long a write waits for another process's lock. Together with one more batch it stays below Retell's 10 s.
const WRITER_BUSY_TIMEOUT: Duration = Duration::from_secs(3);
const READER_BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Creates the folder (0700) and an empty file (0600) if they are missing; SQLite gives its other files the same mode.
pub(super) fn create_folder_and_file(url: &SqliteUrl) -> Result<(), StoreError> {
    let folder = url.folder();
    let failed = |what: &Path, error: std::io::Error| {
        StoreError::Unusable(format!(
            "cannot create {}: {error}; make the folder writable for this user, or set storage.url to another place",
            what.display()
        ))
    };
    if !folder.exists() {
        create_private_folder(folder).map_err(|error| failed(folder, error))?;
    }
    open_private_file(url.path()).map(drop).map_err(|error| failed(url.path(), error))
}

pub(super) fn create_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

pub(super) fn open_private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Unlocks when it is dropped. Closing the file would not do: a program that is just being started holds a copy of it
/// until it runs.
pub(super) struct StoreLock(File);

impl Drop for StoreLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Keeps a second receiver from writing the same store: each would decide duplicates from its own memory.
pub(super) fn acquire_lock(url: &SqliteUrl) -> Result<StoreLock, StoreError> {
    let path = url.path_with_suffix(".lock");
    let file = open_private_file(&path)
        .map_err(|error| StoreError::Unusable(format!("cannot create {}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(StoreLock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unusable(format!(
            "another receiver already writes {}; stop it first, or give this one a storage.url of its own",
            url.path().display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(StoreError::Unusable(format!("cannot lock {}: {error}", path.display())))
        }
    }
}

/// The writer's connection, on the newest schema.
pub(super) fn open_writer(url: &SqliteUrl) -> Result<Connection, StoreError> {
    // One thread uses it, so SQLite need not lock around every call.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(url.path(), flags).map_err(|error| unusable(url, &error))?;
    check_schema_version(&conn, url, &MIGRATIONS)?;
    check_not_foreign_database(&conn, url)?;
    configure_writer(&conn, url).map_err(|error| unusable(url, &error))?;
    migrate(&mut conn, &MIGRATIONS).map_err(|error| unusable(url, &error))?;
    Ok(conn)
}

/// The connection of the ledger's thread, on the newest schema.
pub(super) fn open_ledger(url: &SqliteUrl) -> Result<Connection, StoreError> {
    let url = &url.ledger_url();
    open_private_file(url.path())
        .map_err(|error| StoreError::Unusable(format!("cannot create {}: {error}", url.path().display())))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(url.path(), flags).map_err(|error| unusable(url, &error))?;
    check_schema_version(&conn, url, &LEDGER_MIGRATIONS)?;
    let set_up = |conn: &mut Connection| -> rusqlite::Result<()> {
        conn.busy_timeout(WRITER_BUSY_TIMEOUT)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // The log is synced behind the answer, see `ledger.rs`.
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        conn.pragma_update(None, "secure_delete", "ON")?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        conn.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
        enable_stable_query_plans(conn)?;
        migrate(conn, &LEDGER_MIGRATIONS)
    };
    set_up(&mut conn).map_err(|error| unusable(url, &error))?;
    Ok(conn)
}

fn configure_writer(conn: &Connection, url: &SqliteUrl) -> rusqlite::Result<()> {
    conn.busy_timeout(WRITER_BUSY_TIMEOUT)?;
    // auto_vacuum only takes effect before the first table, and before WAL.
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "secure_delete", "ON")?;
    // Checkpoints run on a thread of their own, so that no request waits for one.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    conn.pragma_update(None, "cache_size", -8 * 1024)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    if let Some(pages) = url.max_page_count {
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    enable_stable_query_plans(conn)
}

/// Keeps prepared statements prepared: without it SQLite plans one anew whenever a bound value might suit another plan.
fn enable_stable_query_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// The store's own key for identities, made with its schema.
pub(super) fn load_identity_key(conn: &Connection) -> Result<IdentityKey, StoreError> {
    let bytes: [u8; 32] = conn.query_row("SELECT key FROM identity_key", [], |row| row.get(0))?;
    Ok(IdentityKey::from_bytes(&bytes))
}

/// A connection for the checkpointing thread.
pub(super) fn open_checkpointer(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(READER_BUSY_TIMEOUT)?;
    // A connection that has read nothing yet does not know of the log, and would checkpoint nothing.
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(conn)
}

/// A connection for a second process that writes beside the receiver. It never checkpoints: the receiver does, and a log
/// without a receiver is brought into the file when the last connection closes.
pub(super) fn open_operator(url: &SqliteUrl, waits: Duration) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(url.path(), flags).map_err(|error| unusable(url, &error))?;
    let set_up = || -> rusqlite::Result<()> {
        conn.busy_timeout(waits)?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "secure_delete", "ON")?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        enable_stable_query_plans(&conn)
    };
    set_up().map_err(|error| unusable(url, &error))?;
    Ok(conn)
}

/// A connection that can only read.
pub(super) fn open_reader(url: &SqliteUrl) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(url.path(), flags).map_err(|error| unusable(url, &error))?;
    conn.busy_timeout(READER_BUSY_TIMEOUT)
        .and_then(|()| enable_stable_query_plans(&conn))
        .map_err(|error| unusable(url, &error))?;
    Ok(conn)
}

/// The same with the ledger's tables beside the store's.
pub(super) fn open_reader_with_ledger(url: &SqliteUrl) -> Result<Connection, StoreError> {
    let (conn, ledger) = (open_reader(url)?, url.ledger_url());
    let path = ledger.path().to_str();
    let path = path.ok_or_else(|| StoreError::Unusable("storage.url: the path is no UTF-8".into()))?;
    conn.execute("ATTACH DATABASE ?1 AS ledger", [path]).map_err(|error| unusable(&ledger, &error))?;
    Ok(conn)
}

/// Refuses a file that is missing, or whose schema is not this version's.
pub(super) fn check_readable(url: &SqliteUrl) -> Result<(), StoreError> {
    if !url.path().exists() {
        return Err(StoreError::Unusable(format!(
            "there is no store at {}; start `retell-webhook serve` once in this folder, or set storage.url",
            url.path().display()
        )));
    }
    let conn = open_reader(url)?;
    check_schema_version(&conn, url, &MIGRATIONS)?;
    if schema_version(&conn).map_err(|error| unusable(url, &error))? < MIGRATIONS.len()
        || !url.ledger_url().path().exists()
    {
        return Err(StoreError::Unusable(
            "the store was made by an older version; start `retell-webhook serve` once to update it".into(),
        ));
    }
    Ok(())
}

fn schema_version(conn: &Connection) -> rusqlite::Result<usize> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn check_schema_version(conn: &Connection, url: &SqliteUrl, migrations: &[&str]) -> Result<(), StoreError> {
    let found = schema_version(conn).map_err(|error| unusable(url, &error))?;
    if found > migrations.len() {
        return Err(StoreError::Unusable(format!(
            "the store {} has schema {found}, made by a newer version; this one knows up to {}. Run the newer version, \
             or set storage.url to another file",
            url.path().display(),
            migrations.len()
        )));
    }
    Ok(())
}

/// `DATABASE_URL` may be an application's own: its database is not to be changed.
fn check_not_foreign_database(conn: &Connection, url: &SqliteUrl) -> Result<(), StoreError> {
    let foreign: bool = conn
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema) AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'identity_key')",
            [],
            |row| row.get(0),
        )
        .map_err(|error| unusable(url, &error))?;
    if foreign {
        return Err(StoreError::Unusable(format!(
            "{} is a database of another program; set storage.url (DATABASE_URL) to a file of the receiver's own",
            url.path().display()
        )));
    }
    Ok(())
}

fn migrate(conn: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    for (done, step) in migrations.iter().enumerate().skip(schema_version(conn)?) {
        let transaction = conn.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", done + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
