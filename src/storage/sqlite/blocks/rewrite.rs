//! Writes a block again without the bodies of removed events, so that they cannot be read any more and their space
//! returns. The old bytes are overwritten: SQLite zeroes what a statement deletes (`secure_delete`).

use rusqlite::{Connection, OptionalExtension, params};

use super::compressor::compress_block;
use super::format::{Block, BlockBuilder};
use super::reader::{load_block, load_frame};
use crate::storage::StoreError;

/// What to do with a damaged block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage::sqlite) enum DamagedBlock {
    /// It stays until the events of all its bodies are removed.
    Keep,
    /// What can be read is kept, and the rest is lost: erased data must not stay.
    Salvage,
}

/// A block as it is to be written again.
pub(in crate::storage::sqlite) struct BlockRewrite {
    block: i64,
    /// Bodies that had been removed when the block was read.
    removed: i64,
    content: RewrittenContent,
}

enum RewrittenContent {
    Compressed {
        raw_bytes: usize,
        frame: Vec<u8>,
    },
    /// The block cannot be decompressed and stays as it is.
    Damaged,
}

/// Reads a block that has bodies of events that were removed before `before_ms`, and makes its new content. `None` when
/// there is none.
pub(in crate::storage::sqlite) fn next_rewrite(
    conn: &Connection,
    before_ms: i64,
    damaged: DamagedBlock,
) -> Result<Option<BlockRewrite>, StoreError> {
    // A damaged block that is kept has no time, see `BlockRewrite::apply`.
    let found: Option<(i64, i64)> = conn
        .prepare_cached(
            "SELECT block, bodies FROM block_removals
             WHERE coalesce(removed_at_ms < ?1, ?2) ORDER BY block LIMIT 1",
        )?
        .query_row(params![before_ms, damaged == DamagedBlock::Salvage], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((block_id, removed)) = found else { return Ok(None) };
    let block = match load_block(conn, block_id)? {
        Ok(block) => Some(block),
        Err(_) if damaged == DamagedBlock::Keep => None,
        Err(error) => {
            tracing::error!(block = block_id, %error, "damaged block rewritten");
            load_frame(conn, block_id)?.and_then(|(frame, _)| Block::salvage(&frame)).or_else(|| Some(Block::empty()))
        }
    };
    let content = match block {
        Some(block) => {
            let (raw_bytes, frame) = compress_block(keep_live_bodies(conn, block_id, &block)?)?;
            RewrittenContent::Compressed { raw_bytes, frame }
        }
        None => RewrittenContent::Damaged,
    };
    Ok(Some(BlockRewrite { block: block_id, removed, content }))
}

fn keep_live_bodies(conn: &Connection, block_id: i64, block: &Block) -> Result<BlockBuilder, StoreError> {
    let mut is_live = conn.prepare_cached("SELECT 1 FROM block_bodies WHERE seq = ?1 AND block = ?2")?;
    let mut builder = BlockBuilder::default();
    for seq in block.seqs() {
        if is_live.exists(params![seq, block_id])?
            && let Some(body) = block.body(seq)
        {
            builder.push(seq, body);
        }
    }
    Ok(builder)
}

impl BlockRewrite {
    /// Replaces the block, unless further bodies were removed since it was read; it is then read again by the next
    /// [`next_rewrite`]. Must run inside a transaction.
    pub(in crate::storage::sqlite) fn apply(&self, conn: &Connection) -> Result<(), StoreError> {
        let unchanged = conn
            .prepare_cached("SELECT 1 FROM block_removals WHERE block = ?1 AND bodies = ?2")?
            .exists(params![self.block, self.removed])?;
        if !unchanged {
            return Ok(());
        }
        match &self.content {
            RewrittenContent::Damaged => {
                conn.prepare_cached("UPDATE block_removals SET removed_at_ms = NULL WHERE block = ?1")?
                    .execute([self.block])?;
            }
            RewrittenContent::Compressed { raw_bytes, frame } => {
                conn.prepare_cached(
                    "UPDATE body_blocks SET bodies = bodies - ?2, raw_bytes = ?3, data = ?4 WHERE id = ?1",
                )?
                .execute(params![self.block, self.removed, raw_bytes, frame])?;
                conn.prepare_cached("DELETE FROM block_removals WHERE block = ?1")?.execute([self.block])?;
            }
        }
        Ok(())
    }
}
