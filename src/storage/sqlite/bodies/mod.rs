//! Body files: large bodies, appended to files next to the database. SQLite would write each body twice in pages, to
//! the log and to the database; here it is written once in one piece. Its row in `bodies` names file and offset, its row
//! in `events` the size. It stays in the file until it is compressed, see `blocks`.
//!
//! Bodies are synced before the transaction that names them commits, so an acknowledged event always has its body.

mod append_position;
mod body_digest;
mod body_reader;
mod files;
mod inspection;
mod reader;
#[cfg(test)]
mod tests;
mod transaction_header;
mod writer;

pub(super) use body_digest::BodyDigest;
pub(super) use body_reader::BodyReader;
pub(super) use files::{body_file_path, list_file_numbers, sync_folder};
pub(super) use inspection::{inspect, known_end, unreferenced_bytes};
pub(super) use reader::BodyFileReader;
pub(super) use writer::BodyFileWriter;

/// Bodies of at least this size go to a body file. A smaller one fits into the 4,096-byte page of its row.
pub(super) const LARGE_BODY_BYTES: usize = 4_000;
/// A file of at least this size gets no further bodies. Space is reclaimed by deleting a file without live bodies, so
/// a single file that grew without limit would never be deleted, see `removal/space.rs`.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// The place of a body; its size is in the row of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BodyLocation {
    pub(super) file_number: i64,
    pub(super) offset: u64,
}
