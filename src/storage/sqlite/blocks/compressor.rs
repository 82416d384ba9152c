//! Compresses waiting bodies, block by block.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::format::{BlockBuilder, MAX_BODY_BYTES, MAX_SHARED_BLOCK_BYTES, entry_bytes};
use crate::storage::sqlite::bodies::BodyDigest;
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::sqlite::removal::{BodyDisposal, delete_uncompressed_body};
use crate::storage::sqlite::writer::WriterContext;
use crate::storage::{Seq, StoreError};

/// Higher levels take several times as long for a few percent less.
const COMPRESSION_LEVEL: i32 = 3;
/// Bodies in one block. Bounds the rows that one write changes: events wait for its commit.
pub(super) const MAX_BODIES_PER_BLOCK: usize = 256;
/// Bytes of bodies that are grouped into blocks at once. Within these the bodies of a call come together.
pub(super) const MAX_ROUND_BYTES: usize = 4 * 1024 * 1024;
const MAX_ROUND_BODIES: usize = 16 * 1024;

/// A body that is not compressed yet.
struct WaitingBody {
    seq: Seq,
    size_bytes: usize,
    /// The position of its call among the calls of the round.
    call: usize,
}

/// The blocks to make next, each as the numbers of its bodies.
pub(super) struct CompressionRound {
    pub(super) blocks: Vec<Vec<Seq>>,
    /// The last body that was looked at.
    pub(super) last_seq: Seq,
}

/// Groups the next waiting bodies after `after`, up to `through`, into blocks. `None` when there are none.
pub(super) fn next_round(conn: &Connection, after: Seq, through: Seq) -> Result<Option<CompressionRound>, StoreError> {
    let mut rows = conn.prepare_cached(
        "SELECT b.seq, e.size_bytes, e.company_id, e.call_id FROM bodies b CROSS JOIN events e ON e.seq = b.seq
         WHERE b.seq > ?1 AND b.seq <= ?2 ORDER BY b.seq LIMIT ?3",
    )?;
    let mut rows = rows.query(params![after, through, MAX_ROUND_BODIES])?;
    let mut waiting = Vec::new();
    let mut calls = HashMap::new();
    let mut round_bytes = 0;
    let mut last_seq = None;
    while round_bytes < MAX_ROUND_BYTES
        && let Some(row) = rows.next()?
    {
        let (seq, size_bytes) = (row.get(0)?, row.get(1)?);
        last_seq = Some(seq);
        if size_bytes > MAX_BODY_BYTES {
            continue;
        }
        // An event without a call is alone.
        let call_id = row.get::<_, Option<String>>(3)?.ok_or(seq);
        let next_call = calls.len();
        let call = *calls.entry((row.get::<_, i64>(2)?, call_id)).or_insert(next_call);
        waiting.push(WaitingBody { seq, size_bytes, call });
        round_bytes += size_bytes;
    }
    let Some(last_seq) = last_seq else { return Ok(None) };
    Ok(Some(CompressionRound { blocks: group_into_blocks(waiting), last_seq }))
}

/// Puts bodies of the same call into the same block as far as it has room.
fn group_into_blocks(mut waiting: Vec<WaitingBody>) -> Vec<Vec<Seq>> {
    // By the first event of each call and not by its id: neighbors in the journal stay neighbors, so that each block
    // changes few pages of the tables.
    waiting.sort_by_key(|body| (body.call, body.seq));
    let mut blocks = Vec::new();
    let mut block = Vec::new();
    let mut block_bytes = 0;
    for body in waiting {
        let bytes = entry_bytes(body.size_bytes);
        let is_full = block.len() == MAX_BODIES_PER_BLOCK || block_bytes + bytes > MAX_SHARED_BLOCK_BYTES;
        if is_full && !block.is_empty() {
            blocks.push(std::mem::take(&mut block));
            block_bytes = 0;
        }
        block.push(body.seq);
        block_bytes += bytes;
    }
    if !block.is_empty() {
        blocks.push(block);
    }
    blocks
}

/// A compressed block that is not in the database yet.
pub(super) struct CompressedBlock {
    bodies: Vec<(Seq, u64)>,
    raw_bytes: usize,
    frame: Vec<u8>,
}

/// Reads and compresses these bodies. `None` when none of them can be read. A damaged body is left out and stays where
/// it is: what damaged its file may be repaired.
pub(super) fn compress(reader: &ReaderContext, seqs: &[Seq]) -> Result<Option<CompressedBlock>, StoreError> {
    let mut event = reader
        .conn
        .prepare_cached("SELECT size_bytes, company_id, identity, dedupe_discriminator FROM events WHERE seq = ?1")?;
    let mut builder = BlockBuilder::default();
    let mut bodies = Vec::new();
    for seq in seqs {
        let mut rows = event.query([seq])?;
        let Some(row) = rows.next()? else { continue };
        let Ok(digest) = BodyDigest::from_row(row, 2, row.get(1)?, &reader.identity_key) else { continue };
        if let Ok(body) = reader.bodies.read(&reader.conn, *seq, row.get(0)?, &digest)? {
            builder.push(*seq, &body);
            bodies.push((*seq, body.len() as u64));
        }
    }
    if bodies.is_empty() {
        return Ok(None);
    }
    let (raw_bytes, frame) = compress_block(builder)?;
    Ok(Some(CompressedBlock { bodies, raw_bytes, frame }))
}

/// Returns the number of bytes before compression, and the compressed bytes.
pub(super) fn compress_block(builder: BlockBuilder) -> Result<(usize, Vec<u8>), StoreError> {
    let raw = builder.finish();
    let frame = zstd::bulk::compress(&raw, COMPRESSION_LEVEL)
        .map_err(|error| StoreError::unavailable(format!("cannot compress bodies: {error}")))?;
    Ok((raw.len(), frame))
}

impl CompressedBlock {
    /// Replaces the bodies by the block. Returns `false` and changes nothing when one of them was removed meanwhile: the
    /// block must not bring it back.
    pub(super) fn insert(&self, state: &mut WriterContext, now_ms: i64) -> Result<bool, StoreError> {
        let savepoint = state.conn.savepoint()?;
        savepoint
            .prepare_cached("INSERT INTO body_blocks (bodies, raw_bytes, data) VALUES (?1, ?2, ?3)")?
            .execute(params![self.bodies.len(), self.raw_bytes, self.frame])?;
        let block = savepoint.last_insert_rowid();
        let mut places = savepoint.prepare_cached("INSERT INTO block_bodies (seq, block) VALUES (?1, ?2)")?;
        for (seq, size_bytes) in &self.bodies {
            // Overwritten, because an erasure that comes later does not know the place any more.
            if !delete_uncompressed_body(&savepoint, *seq, *size_bytes, BodyDisposal::Overwrite, now_ms)? {
                return Ok(false);
            }
            places.execute(params![seq, block])?;
        }
        drop(places);
        savepoint.commit()?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(seq: i64, call: usize, size_bytes: usize) -> WaitingBody {
        WaitingBody { seq: Seq(seq), size_bytes, call }
    }

    #[test]
    fn bodies_of_a_call_share_a_block_and_large_ones_are_alone() {
        let kib = 1024;
        let bodies = vec![
            waiting(1, 0, 100 * kib),
            waiting(2, 1, 100 * kib),
            waiting(3, 0, 100 * kib),
            waiting(4, 1, 300 * kib),
            waiting(5, 2, 1),
        ];
        let blocks = group_into_blocks(bodies);
        let numbers: Vec<Vec<i64>> = blocks.iter().map(|block| block.iter().map(|seq| seq.0).collect()).collect();
        assert_eq!(numbers, [vec![1, 3], vec![2], vec![4], vec![5]]);
        let small = (0..1_000).map(|seq| waiting(seq, 0, 1)).collect();
        assert!(group_into_blocks(small).iter().all(|block| block.len() <= MAX_BODIES_PER_BLOCK));
    }
}
