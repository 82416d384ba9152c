//! The header in front of the bodies of one transaction. Rows name the offsets of bodies, so a reader never looks at
//! it. The start does: it tells what one interrupted transaction has left at the end of a file from bodies that
//! another state of the database names.

use super::BodyLocation;
use crate::storage::IdentityKey;

const MAGIC: [u8; 8] = *b"RWBODIES";
pub(super) const HEADER_BYTES: u64 = 24;

type TransactionHeader = [u8; 24];

/// The header of a transaction that begins at `location` and has `body_bytes` of bodies.
pub(super) fn encode(key: &IdentityKey, location: BodyLocation, body_bytes: u64) -> TransactionHeader {
    let mut header = TransactionHeader::default();
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&body_bytes.to_le_bytes());
    header[16..].copy_from_slice(&checksum(key, location, body_bytes).to_le_bytes());
    header
}

/// The bytes of bodies that a header announces; `None` when it is not a header of this store at this place.
pub(super) fn decode(key: &IdentityKey, location: BodyLocation, header: &[u8]) -> Option<u64> {
    let [_, body_bytes, _]: [[u8; 8]; 3] = header.as_chunks().0.try_into().ok()?;
    let body_bytes = u64::from_le_bytes(body_bytes);
    (header == encode(key, location, body_bytes)).then_some(body_bytes)
}

/// Whether these bytes can be the beginning of a header that was not written to its end.
pub(super) fn is_torn(bytes: &[u8]) -> bool {
    let is_prefix = bytes.iter().zip(MAGIC).all(|(byte, expected)| *byte == expected);
    (bytes.len() as u64) < HEADER_BYTES && is_prefix
}

/// Under the key of the store, and over the place: a header that another store wrote, or that was copied from another
/// place, does not count.
fn checksum(key: &IdentityKey, location: BodyLocation, body_bytes: u64) -> u64 {
    let mut covered = [0; 32];
    covered[..8].copy_from_slice(&MAGIC);
    covered[8..16].copy_from_slice(&location.file_number.to_le_bytes());
    covered[16..24].copy_from_slice(&location.offset.to_le_bytes());
    covered[24..].copy_from_slice(&body_bytes.to_le_bytes());
    key.checksum(&covered)
}
