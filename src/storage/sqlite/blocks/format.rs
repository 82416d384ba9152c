//! The content of a block: a directory with the number and size of each body, then the bodies, compressed as one frame.

use std::io::Read;
use std::ops::Range;

use crate::storage::Seq;

/// A body of at least this size is alone in its block, and no block with several bodies is larger. Larger blocks share
/// more text, but each read of one body decompresses all of them.
pub(super) const MAX_SHARED_BLOCK_BYTES: usize = 256 * 1024;
/// A larger body is not compressed: the write of its block would hold up events.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that a block has before compression at most. What a damaged row or frame claims beyond that is not reserved.
const MAX_BLOCK_BYTES: usize = MAX_BODY_BYTES + MAX_SHARED_BLOCK_BYTES;
const COUNT_BYTES: usize = 4;
/// Per body: the difference of its number to the previous one, which compresses well, and its size.
const ENTRY_BYTES: usize = 12;

/// Bytes of a body in a block before compression.
pub(super) fn entry_bytes(body_bytes: usize) -> usize {
    ENTRY_BYTES + body_bytes
}

/// Collects the bodies of a block.
#[derive(Default)]
pub(super) struct BlockBuilder {
    count: u32,
    last_seq: i64,
    directory: Vec<u8>,
    bodies: Vec<u8>,
}

impl BlockBuilder {
    pub(super) fn push(&mut self, seq: Seq, body: &[u8]) {
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.directory.extend_from_slice(&seq.0.wrapping_sub(self.last_seq).to_le_bytes());
        self.directory.extend_from_slice(&size.to_le_bytes());
        self.bodies.extend_from_slice(body);
        self.last_seq = seq.0;
        self.count += 1;
    }

    /// The raw bytes of the block.
    pub(super) fn finish(self) -> Vec<u8> {
        [&self.count.to_le_bytes()[..], &self.directory, &self.bodies].concat()
    }
}

pub(super) struct Block {
    raw: Vec<u8>,
    places: Vec<(Seq, Range<usize>)>,
}

impl Block {
    /// Decompresses a block; `raw_bytes` is its size according to its row.
    pub(super) fn decompress(frame: &[u8], raw_bytes: usize) -> Result<Self, String> {
        if raw_bytes > MAX_BLOCK_BYTES {
            return Err(format!("its row states {raw_bytes} bytes, more than a block can have"));
        }
        let raw = zstd::bulk::decompress(frame, raw_bytes).map_err(|error| error.to_string())?;
        if raw.len() != raw_bytes {
            return Err(format!("it has {} bytes instead of {raw_bytes}", raw.len()));
        }
        let places = parse_directory(&raw).ok_or("its directory is damaged")?;
        if places.iter().map(|(_, range)| range.end).max().unwrap_or(raw.len()) != raw.len() {
            return Err("its directory does not match its size".to_owned());
        }
        Ok(Self::from_places(raw, places))
    }

    pub(super) fn empty() -> Self {
        Self { raw: Vec::new(), places: Vec::new() }
    }

    /// Decompresses what can be read of a damaged block.
    pub(super) fn salvage(frame: &[u8]) -> Option<Self> {
        let mut raw = Vec::new();
        // An error ends the frame; what came before it is in `raw`.
        let _ = zstd::stream::read::Decoder::new(frame).ok()?.take(MAX_BLOCK_BYTES as u64).read_to_end(&mut raw);
        let places = parse_directory(&raw)?;
        Some(Self::from_places(raw, places))
    }

    fn from_places(raw: Vec<u8>, mut places: Vec<(Seq, Range<usize>)>) -> Self {
        places.sort_unstable_by_key(|(seq, _)| *seq);
        Self { raw, places }
    }

    /// The bytes of a body. Of a salvaged block they may end early.
    pub(super) fn body(&self, seq: Seq) -> Option<&[u8]> {
        let at = self.places.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        let (_, range) = self.places.get(at)?;
        self.raw.get(range.start..range.end.min(self.raw.len()))
    }

    /// The numbers of the bodies, in the order of the block.
    pub(super) fn seqs(&self) -> Vec<Seq> {
        let mut places: Vec<_> = self.places.iter().collect();
        places.sort_unstable_by_key(|(_, range)| range.start);
        places.into_iter().map(|(seq, _)| *seq).collect()
    }

    pub(super) fn raw_bytes(&self) -> usize {
        self.raw.len()
    }
}

fn parse_directory(raw: &[u8]) -> Option<Vec<(Seq, Range<usize>)>> {
    let (count, rest) = raw.split_first_chunk::<COUNT_BYTES>()?;
    let directory_bytes = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(ENTRY_BYTES)?;
    let (directory, _) = rest.split_at_checked(directory_bytes)?;
    let (mut seq, mut start) = (0_i64, COUNT_BYTES + directory_bytes);
    let mut places = Vec::new();
    for entry in directory.as_chunks::<ENTRY_BYTES>().0 {
        let (difference, size) = entry.split_first_chunk::<8>()?;
        seq = seq.wrapping_add(i64::from_le_bytes(*difference));
        let end = start.checked_add(usize::try_from(u32::from_le_bytes(size.try_into().ok()?)).ok()?)?;
        places.push((Seq(seq), start..end));
        start = end;
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compress(bodies: &[(i64, Vec<u8>)]) -> (Vec<u8>, usize) {
        let mut builder = BlockBuilder::default();
        for (seq, body) in bodies {
            builder.push(Seq(*seq), body);
        }
        let raw = builder.finish();
        (zstd::bulk::compress(&raw, 1).unwrap(), raw.len())
    }

    proptest! {
        #[test]
        fn bodies_come_back_byte_for_byte(bodies in prop::collection::btree_map(any::<i64>(), any::<Vec<u8>>(), 0..20)) {
            let bodies = Vec::from_iter(bodies);
            let (frame, raw_bytes) = compress(&bodies);
            for block in [Block::decompress(&frame, raw_bytes).unwrap(), Block::salvage(&frame).unwrap()] {
                prop_assert_eq!(block.seqs(), bodies.iter().map(|(seq, _)| Seq(*seq)).collect::<Vec<_>>());
                for (seq, body) in &bodies {
                    prop_assert_eq!(block.body(Seq(*seq)), Some(&body[..]));
                }
            }
        }

        #[test]
        fn a_damaged_block_never_panics(mut frame: Vec<u8>, at: prop::sample::Index, flip: u8, intact: bool) {
            let bodies = [(7, vec![b'x'; 700]), (3, frame.clone())];
            let raw_bytes = if intact { compress(&bodies).1 } else { frame.len() };
            if intact {
                frame = compress(&bodies).0;
            }
            if !frame.is_empty() {
                let at = at.index(frame.len());
                frame[at] ^= flip;
            }
            for block in [Block::decompress(&frame, raw_bytes).ok(), Block::salvage(&frame)].into_iter().flatten() {
                block.body(Seq(7));
                block.body(Seq(3));
            }
        }
    }

    #[test]
    fn a_size_that_does_not_match_is_refused_before_memory_is_reserved() {
        let (frame, raw_bytes) = compress(&[(1, vec![b'x'; 10_000])]);
        for wrong in [0, raw_bytes - 1, raw_bytes + 1, usize::MAX] {
            assert!(Block::decompress(&frame, wrong).is_err(), "{wrong}");
        }
    }
}
