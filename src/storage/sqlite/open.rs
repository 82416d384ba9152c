//! Opens the store: folders and permissions, connection settings, migrations.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::SqliteUrl;
use super::errors::{cause_text, unusable};
use crate::storage::{IdentityKey, StoreError, StoreErrorKind};

/// The steps of a schema. `user_version` of a database counts them, beginning after `base`.
pub(super) struct Migrations {
    /// The last number that builds before 0.1.0 used; their steps are not part of this version.
    base: usize,
    /// What to do with a file that such a build made.
    outdated_advice: &'static str,
    pub(super) steps: &'static [&'static str],
}

pub(super) const MIGRATIONS: Migrations = Migrations {
    base: 14,
    outdated_advice: "Export its events with that build, set storage.url to another file, and import them there",
    steps: &[include_str!("../../../migrations/sqlite/0001_store.sql")],
};
const LEDGER_MIGRATIONS: Migrations = Migrations {
    base: 3,
    outdated_advice: "It is an invocation ledger, which holds no events: move it away together with its `-wal` and \
                      `-shm` files, and the receiver creates a new one",
    steps: &[include_str!("../../../migrations/sqlite-ledger/0001_ledger.sql")],
};

/// How long a write waits for the lock of another process. An event may wait for two such timeouts, its own and that
/// of the transaction before it; both together stay below the 10 s after which Retell gives up.
const WRITER_BUSY_TIMEOUT: Duration = Duration::from_secs(3);
const READER_BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Creates the folder of the store (mode 0700) if it is missing.
pub(super) fn create_store_folder(url: &SqliteUrl) -> Result<(), StoreError> {
    let folder = url.folder();
    if folder.exists() {
        return Ok(());
    }
    create_private_folder(folder).map_err(|error| {
        StoreError::unusable(format!(
            "cannot create {}: {error}; make the folder writable for this user, or set storage.url (DATABASE_URL) to \
             another path",
            folder.display()
        ))
    })
}

pub(super) fn create_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// Opens the file, or creates it empty (mode 0600). SQLite gives its log and shared-memory files the mode of the
/// database.
pub(super) fn open_private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Opens the connection of the writer thread and migrates the schema.
pub(super) fn open_writer(url: &SqliteUrl) -> Result<Connection, StoreError> {
    let mut conn = open_connection(url, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_BUSY_TIMEOUT)
        .map_err(|error| unusable(url, error))?;
    // Before the first statement that writes.
    check_own_database(&conn, url)?;
    configure_writer(&conn, url).map_err(|error| unusable(url, error))?;
    MIGRATIONS.apply(&mut conn).map_err(|error| unusable(url, error))?;
    Ok(conn)
}

/// Both checks of a store's database: one that is not ours, or is newer, stays unchanged.
pub(super) fn check_own_database(conn: &Connection, url: &SqliteUrl) -> Result<(), StoreError> {
    check_schema_version(conn, url, &MIGRATIONS)?;
    check_not_foreign_database(conn, url)
}

/// Opens a connection that locks out every other process from its first statement on, or fails at once.
pub(super) fn open_for_recovery(url: &SqliteUrl) -> Result<Connection, StoreError> {
    let open = || {
        let conn = open_connection(url, OpenFlags::SQLITE_OPEN_READ_WRITE, Duration::ZERO)?;
        conn.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
        Ok(conn)
    };
    open().map_err(|error| unusable(url, error))
}

/// Opens the connection of the ledger's thread and migrates its schema.
pub(super) fn open_ledger(url: &SqliteUrl) -> Result<Connection, StoreError> {
    let url = &url.ledger_url();
    open_private_file(url.path())
        .map_err(|error| StoreError::unusable(format!("cannot create {}: {error}", url.path().display())))?;
    let mut conn = open_connection(url, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_BUSY_TIMEOUT)
        .map_err(|error| unusable(url, error))?;
    check_schema_version(&conn, url, &LEDGER_MIGRATIONS)?;
    let set_up = |conn: &mut Connection| -> rusqlite::Result<()> {
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // No sync at commit; a thread syncs the log afterwards, see `ledger`.
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        conn.pragma_update(None, "secure_delete", "ON")?;
        conn.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
        LEDGER_MIGRATIONS.apply(conn)
    };
    set_up(&mut conn).map_err(|error| unusable(url, error))?;
    Ok(conn)
}

fn configure_writer(conn: &Connection, url: &SqliteUrl) -> rusqlite::Result<()> {
    // Takes effect only if set before the first table is created and before WAL is enabled.
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // FULL: in WAL mode NORMAL does not sync the log at commit, and a power cut could lose acknowledged events.
    conn.pragma_update(None, "synchronous", "FULL")?;
    // Overwrites deleted rows with zeros, so that erased data cannot be read from free pages.
    conn.pragma_update(None, "secure_delete", "ON")?;
    // Truncates a log that a burst has grown, when it starts over.
    conn.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    conn.pragma_update(None, "cache_size", -8 * 1024)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    if let Some(pages) = url.max_page_count {
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(())
}

/// The only way to open a connection to a file of the store: it never checkpoints by itself, neither at a commit, for
/// which a sender would wait, nor when it is closed, because no process may checkpoint after a failed sync.
fn open_connection(url: &SqliteUrl, flags: OpenFlags, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    // One thread uses each connection, so SQLite need not lock around every call.
    let conn = Connection::open_with_flags(url.path(), flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(busy_timeout)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    enable_stable_query_plans(&conn)?;
    Ok(conn)
}

/// Keeps query plans independent of bound values (QPSG). Otherwise SQLite plans a cached statement again when a value
/// suggests another plan, which costs time on every path and can pick a plan that scans.
fn enable_stable_query_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Intake and dispatch use more different statements than the default of 16, and would prepare them again and
    // again.
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// The key under which the store hashes identities. The first migration creates it; it never changes, because every
/// stored identity depends on it.
pub(super) fn load_identity_key(conn: &Connection) -> Result<IdentityKey, StoreError> {
    let (key, copy): ([u8; 32], [u8; 32]) =
        conn.query_row("SELECT key, copy FROM identity_key", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if key != copy {
        return Err(StoreError::unusable(
            "the key in the table identity_key is damaged, so no body of this store can be checked; restore the store \
             from a backup",
        ));
    }
    Ok(IdentityKey::from_bytes(&key))
}

/// Opens a connection for checkpoints, which take the [`SyncState`](super::wal::SyncState) into account.
pub(super) fn open_checkpointer(url: &SqliteUrl) -> Result<Connection, StoreError> {
    let conn = open_connection(url, OpenFlags::SQLITE_OPEN_READ_WRITE, READER_BUSY_TIMEOUT)?;
    // A connection that has not read anything yet has not opened the log, and its checkpoints would do nothing.
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(conn)
}

/// Opens a connection for an operator command that writes while a receiver is running.
pub(super) fn open_operator(url: &SqliteUrl, busy_timeout: Duration) -> Result<Connection, StoreError> {
    let conn =
        open_connection(url, OpenFlags::SQLITE_OPEN_READ_WRITE, busy_timeout).map_err(|error| unusable(url, error))?;
    let set_up = || -> rusqlite::Result<()> {
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "secure_delete", "ON")
    };
    set_up().map_err(|error| unusable(url, error))?;
    Ok(conn)
}

/// Opens a read-only connection to the store's database.
pub(super) fn open_reader(url: &SqliteUrl) -> Result<Connection, StoreError> {
    open_connection(url, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_BUSY_TIMEOUT).map_err(|error| unusable(url, error))
}

/// Attaches the ledger, so that one query can join invocations with companies.
///
/// # Errors
/// [`StoreError`] of the kind `Corrupt` or `Unavailable` when only the ledger cannot be used.
pub(super) fn attach_ledger(conn: &Connection, url: &SqliteUrl) -> Result<(), StoreError> {
    let ledger = url.ledger_url();
    if !ledger.path().exists() {
        return Err(StoreError::unavailable(format!(
            "the invocation ledger {} is missing; restart the receiver, which begins a new one",
            ledger.path().display()
        )));
    }
    let path = ledger.path().to_str().ok_or_else(|| {
        StoreError::unusable(format!("storage.url: the path {} is not valid UTF-8", url.path().display()))
    })?;
    match conn.execute("ATTACH DATABASE ?1 AS ledger", [path]) {
        Ok(_) => Ok(()),
        Err(error) => Err(match StoreError::from(error) {
            damaged if damaged.kind() == StoreErrorKind::Corrupt => StoreError::corrupt(format!(
                "the invocation ledger {} is damaged: {}; restart the receiver, which sets it aside and begins a new \
                 one",
                ledger.path().display(),
                cause_text(&damaged)
            )),
            other => other,
        }),
    }
}

/// Fails when the file is missing or its schema is not that of this version. Commands do not hold the lock, so they
/// neither create nor migrate a store.
pub(super) fn check_readable(url: &SqliteUrl) -> Result<(), StoreError> {
    if !url.path().exists() {
        return Err(StoreError::unusable(format!(
            "no store at {}; start the receiver once, or set storage.url (DATABASE_URL) to the path of a store",
            url.path().display()
        )));
    }
    let conn = open_reader(url)?;
    check_schema_version(&conn, url, &MIGRATIONS)?;
    if schema_version(&conn).map_err(|error| unusable(url, error))? < MIGRATIONS.latest() {
        return Err(StoreError::unusable(format!(
            "the store {} was made by an older version; start the receiver once to update it",
            url.path().display()
        )));
    }
    Ok(())
}

pub(super) fn is_current_ledger_version(version: i64) -> bool {
    usize::try_from(version).is_ok_and(|version| version == LEDGER_MIGRATIONS.latest())
}

fn schema_version(conn: &Connection) -> rusqlite::Result<usize> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn check_schema_version(conn: &Connection, url: &SqliteUrl, migrations: &Migrations) -> Result<(), StoreError> {
    let found = schema_version(conn).map_err(|error| unusable(url, error))?;
    let path = url.path().display();
    if found > migrations.latest() {
        return Err(StoreError::unusable(format!(
            "the store {path} has schema {found}, made by a newer version; this one knows up to {}. Run the newer \
             version, or set storage.url to another file",
            migrations.latest()
        )));
    }
    if (1..=migrations.base).contains(&found) {
        return Err(StoreError::unusable(format!(
            "the store {path} has schema {found}, made by a build before 0.1.0, which this version cannot update. {}",
            migrations.outdated_advice
        )));
    }
    Ok(())
}

/// Fails when the file is the database of another program: `DATABASE_URL` may be set for the application next to the
/// receiver.
fn check_not_foreign_database(conn: &Connection, url: &SqliteUrl) -> Result<(), StoreError> {
    let foreign: bool = conn
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema)
               AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'identity_key')",
            [],
            |row| row.get(0),
        )
        .map_err(|error| unusable(url, error))?;
    if foreign {
        return Err(StoreError::unusable(format!(
            "{} is a database of another program; set storage.url (DATABASE_URL) to a file that only the receiver uses",
            url.path().display()
        )));
    }
    Ok(())
}

impl Migrations {
    fn latest(&self) -> usize {
        self.base + self.steps.len()
    }

    fn apply(&self, conn: &mut Connection) -> rusqlite::Result<()> {
        // A new database has the version 0.
        let done = schema_version(conn)?.saturating_sub(self.base);
        for (number, step) in self.steps.iter().enumerate().skip(done) {
            let transaction = conn.transaction()?;
            transaction.execute_batch(step)?;
            // In the same transaction as the step: after a crash the step is either done and counted, or neither.
            transaction.pragma_update(None, "user_version", self.base + number + 1)?;
            transaction.commit()?;
        }
        Ok(())
    }
}
