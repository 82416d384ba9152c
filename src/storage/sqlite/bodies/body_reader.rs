//! Finds and reads the body of an event, wherever it is: in its row, in a body file or in a block.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use super::{BodyDigest, BodyFileReader, BodyLocation};
use crate::storage::sqlite::SqliteUrl;
use crate::storage::sqlite::blocks::BlockReader;
use crate::storage::{BodyError, Seq};

enum BodyPlace {
    Row(Vec<u8>),
    File(BodyLocation),
    Block(i64),
}

/// Reads bodies; one per thread, because it keeps what neighboring events share: the open file and blocks.
pub(in crate::storage::sqlite) struct BodyReader {
    pub(in crate::storage::sqlite) files: BodyFileReader,
    blocks: BlockReader,
}

impl BodyReader {
    pub(in crate::storage::sqlite) fn new(url: &SqliteUrl) -> Self {
        Self { files: BodyFileReader::new(url), blocks: BlockReader::default() }
    }

    /// The body of an event, if it matches its digest. A body that cannot be read is part of the result and not an
    /// error: one lost body must not fail a batch of events.
    pub(in crate::storage::sqlite) fn read(
        &self,
        conn: &Connection,
        seq: Seq,
        size_bytes: usize,
        digest: &BodyDigest,
    ) -> rusqlite::Result<Result<Bytes, BodyError>> {
        Ok(match find_place(conn, seq)? {
            Some(BodyPlace::Row(body)) => digest.check_row(&body).map(|()| body.into()),
            Some(BodyPlace::File(location)) => self.files.read(location, size_bytes, digest).map(Bytes::from),
            Some(BodyPlace::Block(block)) => self.blocks.read(conn, block, seq, digest)?,
            None => Err(BodyError::gone("the body is not in the database")),
        })
    }

    /// The bytes in the place of a body, whether they are intact or not: an erasure searches damaged bodies too. `None`
    /// when there are none.
    pub(in crate::storage::sqlite) fn read_damaged(
        &self,
        conn: &Connection,
        seq: Seq,
        size_bytes: usize,
    ) -> rusqlite::Result<Option<Vec<u8>>> {
        match find_place(conn, seq)? {
            Some(BodyPlace::Row(body)) => Ok(Some(body)),
            Some(BodyPlace::File(location)) => Ok(self.files.read_damaged(location, size_bytes)),
            Some(BodyPlace::Block(block)) => self.blocks.read_damaged(conn, block, seq),
            None => Ok(None),
        }
    }
}

/// The order matters: a body moves from `bodies` to a block and never back, so one that moves between the two
/// statements is found.
fn find_place(conn: &Connection, seq: Seq) -> rusqlite::Result<Option<BodyPlace>> {
    let uncompressed = conn
        .prepare_cached("SELECT body, file, at FROM bodies WHERE seq = ?1")?
        .query_row([seq], |row| {
            Ok(match row.get(1)? {
                Some(file_number) => BodyPlace::File(BodyLocation { file_number, offset: row.get(2)? }),
                None => BodyPlace::Row(row.get(0)?),
            })
        })
        .optional()?;
    if uncompressed.is_some() {
        return Ok(uncompressed);
    }
    conn.prepare_cached("SELECT block FROM block_bodies WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0).map(BodyPlace::Block))
        .optional()
}
