//! Reads bodies from blocks; one per thread.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use super::compressor::MAX_ROUND_BYTES;
use super::format::Block;
use crate::storage::sqlite::bodies::BodyDigest;
use crate::storage::{BodyError, Seq};

/// Decompressed blocks that are kept, in bytes. Neighbors in the journal may be in any block of a round, so those of one
/// round have to fit, with their directories: otherwise a reader would decompress each of them again and again.
const MAX_CACHED_BYTES: usize = MAX_ROUND_BYTES + MAX_ROUND_BYTES / 4;

#[derive(Default)]
pub(in crate::storage::sqlite) struct BlockReader {
    /// The most recently used one last.
    cached: RefCell<VecDeque<(i64, Block)>>,
}

impl BlockReader {
    /// The body of an event, if it matches its digest.
    pub(in crate::storage::sqlite) fn read(
        &self,
        conn: &Connection,
        block_id: i64,
        seq: Seq,
        digest: &BodyDigest,
    ) -> rusqlite::Result<Result<Bytes, BodyError>> {
        let read = self.with_block(conn, block_id, |block| match block.body(seq) {
            // Copied: a part of the block would keep all of it in memory.
            Some(body) if digest.matches(body) => Ok(Bytes::copy_from_slice(body)),
            _ => Err(BodyError::damaged(format!(
                "the body in block {block_id} of the database does not match its digest; restore the store from a backup"
            ))),
        })?;
        Ok(read.flatten())
    }

    /// The bytes in the place of a body, as far as the block can be decompressed.
    pub(in crate::storage::sqlite) fn read_damaged(
        &self,
        conn: &Connection,
        block_id: i64,
        seq: Seq,
    ) -> rusqlite::Result<Option<Vec<u8>>> {
        if let Ok(body) = self.with_block(conn, block_id, |block| block.body(seq).map(<[u8]>::to_vec))? {
            return Ok(body);
        }
        let frame = load_frame(conn, block_id)?;
        Ok(frame.and_then(|(frame, _)| Some(Block::salvage(&frame)?.body(seq)?.to_vec())))
    }

    fn with_block<T>(
        &self,
        conn: &Connection,
        block_id: i64,
        work: impl FnOnce(&Block) -> T,
    ) -> rusqlite::Result<Result<T, BodyError>> {
        let mut cached = self.cached.borrow_mut();
        let found = cached.iter().position(|(id, _)| *id == block_id).and_then(|at| cached.remove(at));
        let block = match found {
            Some((_, block)) => block,
            None => match load_block(conn, block_id)? {
                Ok(block) => block,
                Err(error) => return Ok(Err(error)),
            },
        };
        let result = work(&block);
        cached.push_back((block_id, block));
        // The last one stays in any case, because the next body is probably in it.
        while cached.len() > 1 && cached.iter().map(|(_, block)| block.raw_bytes()).sum::<usize>() > MAX_CACHED_BYTES {
            cached.pop_front();
        }
        Ok(Ok(result))
    }
}

/// The compressed bytes of a block and the size that its row states.
pub(super) fn load_frame(conn: &Connection, block_id: i64) -> rusqlite::Result<Option<(Vec<u8>, usize)>> {
    conn.prepare_cached("SELECT data, raw_bytes FROM body_blocks WHERE id = ?1")?
        .query_row([block_id], |row| Ok((row.get(0)?, usize::try_from(row.get::<_, i64>(1)?).unwrap_or(usize::MAX))))
        .optional()
}

/// Reads and decompresses a block.
pub(super) fn load_block(conn: &Connection, block_id: i64) -> rusqlite::Result<Result<Block, BodyError>> {
    let Some((frame, raw_bytes)) = load_frame(conn, block_id)? else {
        return Ok(Err(BodyError::gone(format!("block {block_id}, which has the body, is not in the database"))));
    };
    Ok(Block::decompress(&frame, raw_bytes).map_err(|cause| {
        BodyError::damaged(format!(
            "block {block_id} of the database, which has the body, is damaged ({cause}), so the body does not match its \
             digest; restore the store from a backup"
        ))
    }))
}
