//! Watches for commits of other connections, such as an operator's replay while the receiver runs.
//!
//! One cheap query per interval replaces a poll of every handler. It also sees the commits of this receiver's own
//! writer; an unneeded wake-up costs each worker one look at the queue.

use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use super::{SqliteUrl, open};
use crate::base::supervise::Supervisor;
use crate::storage::StoreError;

/// How long a change by another process goes unnoticed at most.
const INTERVAL: Duration = Duration::from_millis(200);

/// Starts the thread that wakes the subscribers of `changes`; it ends when the service stops.
pub(super) fn start(url: &SqliteUrl, changes: &watch::Sender<u64>, supervisor: &Supervisor) -> Result<(), StoreError> {
    let conn = open::open_reader(url)?;
    let changes = changes.clone();
    let stop = supervisor.clone();
    supervisor
        .spawn_thread("store-watch", move || {
            let mut last_version = data_version(&conn).ok();
            while !stop.is_stopping() {
                std::thread::sleep(INTERVAL);
                let version = data_version(&conn).ok();
                if version != last_version {
                    last_version = version;
                    changes.send_modify(|changes| *changes = changes.wrapping_add(1));
                }
            }
        })
        .map_err(|error| StoreError::unusable(format!("cannot start the thread store-watch: {error}")))
}

/// A number that differs after any other connection has committed. Reading it does not touch the database file.
fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA data_version", [], |row| row.get(0))
}
