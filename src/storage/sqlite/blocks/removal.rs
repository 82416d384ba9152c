//! Bodies of removed events in blocks: a block whose bodies are all gone is deleted at once, another one is recorded, to
//! be written again without them.

use rusqlite::{Connection, OptionalExtension, params};

use crate::storage::{Seq, StoreError};

/// Records that the body of a removed event, if it is in a block, is not needed any more. Must run inside the
/// transaction that removes the event.
pub(in crate::storage::sqlite) fn record_removal(
    conn: &Connection,
    seq: Seq,
    size_bytes: u64,
    now_ms: i64,
) -> Result<(), StoreError> {
    let block: Option<i64> = conn
        .prepare_cached("DELETE FROM block_bodies WHERE seq = ?1 RETURNING block")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    let Some(block) = block else { return Ok(()) };
    let removed: i64 = conn
        .prepare_cached(
            "INSERT INTO block_removals (block, bodies, raw_bytes, removed_at_ms) VALUES (?1, 1, ?2, ?3)
             ON CONFLICT (block) DO UPDATE SET bodies = bodies + 1, raw_bytes = raw_bytes + excluded.raw_bytes
             RETURNING bodies",
        )?
        .query_row(params![block, size_bytes, now_ms], |row| row.get(0))?;
    let deleted = conn
        .prepare_cached("DELETE FROM body_blocks WHERE id = ?1 AND bodies <= ?2")?
        .execute(params![block, removed])?;
    if deleted > 0 {
        conn.prepare_cached("DELETE FROM block_removals WHERE block = ?1")?.execute([block])?;
    }
    Ok(())
}

/// Bytes that blocks take up for bodies of removed events, in proportion to the sizes of the bodies.
pub(in crate::storage::sqlite) fn removed_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    conn.prepare_cached(
        "SELECT coalesce(sum(r.raw_bytes * length(b.data) / max(b.raw_bytes, 1)), 0)
         FROM block_removals r JOIN body_blocks b ON b.id = r.block",
    )?
    .query_row([], |row| row.get(0))
}
