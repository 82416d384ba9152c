mod pages;
mod totals;

use rusqlite::Connection;

use super::*;
use crate::storage::IdentityKey;
use crate::storage::sqlite::open;

fn empty_store() -> (Connection, IdentityKey) {
    let conn = Connection::open_in_memory().unwrap();
    for step in open::MIGRATIONS.steps {
        conn.execute_batch(step).unwrap();
    }
    let key = open::load_identity_key(&conn).unwrap();
    (conn, key)
}
