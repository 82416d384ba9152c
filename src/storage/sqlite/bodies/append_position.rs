//! Where bodies are appended after a start, and what a crash has left there.
//!
//! A crash leaves at most the bodies of one transaction behind the last named body, and its header tells how many
//! bytes they have. Only such a remainder is cut off: it was never acknowledged. Everything else may belong to
//! another state of the database: an older one was restored, or none, or that of another store. Those bytes are kept,
//! and bodies go to a new file with a number above all others.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rusqlite::Connection;

use super::files::{body_file_path, create_file, file_bytes, list_file_numbers};
use super::inspection::last_known_end;
use super::transaction_header::{self, HEADER_BYTES};
use super::{BodyLocation, MAX_FILE_BYTES};
use crate::storage::{IdentityKey, StoreError};

/// Opens the file to which bodies are appended. Returns it with the place of the next body.
pub(super) fn open(folder: &Path, conn: &Connection, key: &IdentityKey) -> Result<(File, BodyLocation), StoreError> {
    let known = last_known_end(conn)?;
    let failed =
        |error: io::Error| StoreError::unusable(format!("cannot open the body files in {}: {error}", folder.display()));
    let newest = list_file_numbers(folder).map_err(failed)?.last().copied().unwrap_or(0);
    let end = candidate(known, newest);
    if let Some(file) = open_at(folder, end, is_end_of_journal(known, newest), key).map_err(failed)? {
        return Ok((file, end));
    }
    let above = known.map_or(0, |known| known.file_number).max(newest);
    let (file_number, file) = create_file(folder, above + 1).map_err(failed)?;
    Ok((file, BodyLocation { file_number, offset: 0 }))
}

/// The end of the newest file as far as the database knows it.
fn candidate(known: Option<BodyLocation>, newest: i64) -> BodyLocation {
    match known {
        Some(known) if known.file_number >= newest => known,
        // Reclaiming deletes files below the highest number, so appending to one of those could lose bodies.
        _ => BodyLocation { file_number: newest, offset: 0 },
    }
}

/// Whether an interrupted transaction can have written to the newest file: it is the one that the database names last,
/// or was begun because that one was full. A newer file for another reason belongs to another state of the database.
fn is_end_of_journal(known: Option<BodyLocation>, newest: i64) -> bool {
    match known {
        None => newest <= 1,
        Some(known) if known.file_number < newest => known.file_number + 1 == newest && known.offset >= MAX_FILE_BYTES,
        Some(_) => true,
    }
}

/// Opens the file if it ends at `end`, or if what follows is cut off. `None` when its bytes have to stay, or when it
/// is missing or too short: filling it up would put other bytes in the place of bodies that rows name.
fn open_at(folder: &Path, end: BodyLocation, may_be_interrupted: bool, key: &IdentityKey) -> io::Result<Option<File>> {
    let path = body_file_path(folder, end.file_number);
    let Some(found_bytes) = file_bytes(&path)? else { return Ok(None) };
    if found_bytes < end.offset {
        return Ok(None);
    }
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let surplus_bytes = found_bytes - end.offset;
    if surplus_bytes == 0 {
        return Ok(Some(file));
    }
    if !may_be_interrupted || !is_one_transaction(&mut file, end, surplus_bytes, key)? {
        return Ok(None);
    }
    file.set_len(end.offset)?;
    tracing::info!(path = %path.display(), bytes = surplus_bytes, "interrupted transaction removed");
    Ok(Some(file))
}

/// Whether the bytes at `end` are what one transaction wrote, completely or in part.
pub(super) fn is_one_transaction(
    file: &mut File,
    end: BodyLocation,
    surplus_bytes: u64,
    key: &IdentityKey,
) -> io::Result<bool> {
    file.seek(SeekFrom::Start(end.offset))?;
    let mut header = Vec::new();
    file.take(HEADER_BYTES.min(surplus_bytes)).read_to_end(&mut header)?;
    if transaction_header::is_torn(&header) {
        return Ok(true);
    }
    let announced = transaction_header::decode(key, end, &header);
    Ok(announced.is_some_and(|body_bytes| surplus_bytes - HEADER_BYTES <= body_bytes))
}
